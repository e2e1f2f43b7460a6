"""Trees carried out: operands, functions, scopes, Go's values."""
