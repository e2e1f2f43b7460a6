"""Signatures of models as cosign makes them with keys: made, kept and checked."""
