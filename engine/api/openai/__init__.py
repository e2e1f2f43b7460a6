"""OpenAI's HTTP API, below /v1."""
