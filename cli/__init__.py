"""The `olm` command: parses, calls the daemon, draws. The only part that prints or exits."""
