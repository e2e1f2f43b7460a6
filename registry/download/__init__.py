"""Downloads of blobs: parallel ranges, a journal to resume from, and hashing on the way."""
