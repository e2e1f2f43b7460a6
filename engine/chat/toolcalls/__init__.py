"""Streaming parsers for the tool calls of model families."""
