"""How much memory a model takes, how much is there, and whether it may be loaded."""
