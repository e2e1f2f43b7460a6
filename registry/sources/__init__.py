"""Where models come from: each module turns a name into a manifest and blobs."""
