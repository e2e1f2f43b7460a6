"""Prompt templates, Jinja and Go, rendered in a process of their own."""
