"""The proof that the installed engine runs here: a tiny model in a child process."""
