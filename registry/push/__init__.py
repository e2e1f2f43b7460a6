"""Models out of the store into a registry."""
