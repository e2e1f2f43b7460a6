"""Blobs out of the network: parallel ranges, a journal, hashing while they arrive."""
