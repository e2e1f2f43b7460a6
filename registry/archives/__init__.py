"""Models as files: tar streams, compression, OCI layouts."""
