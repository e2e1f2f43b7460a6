"""Modelfiles and local files on their way to the daemon."""
