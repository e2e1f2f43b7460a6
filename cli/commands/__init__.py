"""One command a file; each module is imported only when its command runs."""
