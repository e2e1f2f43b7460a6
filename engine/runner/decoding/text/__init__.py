"""Tokens become text: whole characters, stop strings held back, what is settled."""
