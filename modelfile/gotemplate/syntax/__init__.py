"""Template text to trees: scanner, expression grammar, nodes."""
