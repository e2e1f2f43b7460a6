"""How Go prints values: fmt's verbs, numbers, quoting, JSON."""
