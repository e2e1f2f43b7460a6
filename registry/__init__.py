"""Names, digests, manifests, the local store and remote registries: bytes, never models."""
