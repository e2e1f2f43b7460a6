"""What a model writes, taken apart while it streams: answer, thoughts and calls of tools."""
