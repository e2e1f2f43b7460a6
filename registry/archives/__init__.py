"""Models as files: OCI image layouts in tar archives and in folders."""
