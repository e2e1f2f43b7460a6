"""How next tokens are drawn: which ways there are, and which is the fastest here."""
