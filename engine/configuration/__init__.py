"""Settings in files: `olm.toml` of the system, of the user and of a project."""
