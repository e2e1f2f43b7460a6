"""Whose models are: keys, signatures held against them, and bills of what models are made of."""
