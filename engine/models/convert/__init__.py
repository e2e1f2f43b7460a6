"""Safetensors checkpoints to GGUF, one module an architecture."""
