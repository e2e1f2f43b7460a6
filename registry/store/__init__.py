"""The local store: blobs, names, locks, collection; Ollama's layout on the disk."""
