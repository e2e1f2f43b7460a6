"""Tokenizers of checkpoints, written into a GGUF's `tokenizer.*` metadata."""
