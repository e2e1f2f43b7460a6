"""New models: from files, checkpoints or other models, converted and quantized."""
