"""Anthropic's HTTP API, /v1/messages."""
