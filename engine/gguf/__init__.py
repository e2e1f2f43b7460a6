"""GGUF files: headers, tables, shards, and the writer."""
