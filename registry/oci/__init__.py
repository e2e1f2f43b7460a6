"""OCI's nouns: digests, references, manifests, media types, the config of a model. No I/O."""
