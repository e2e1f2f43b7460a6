"""The one way out for data: records as tables, JSON, lines of a Go template, or bare names."""
