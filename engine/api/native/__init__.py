"""Ollama's HTTP API, and olm's own additions to it."""
