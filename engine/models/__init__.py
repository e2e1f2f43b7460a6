"""Stored models made concrete: GGUF headers, options, creation."""
