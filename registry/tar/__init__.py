"""Tar archives as streams, and what compresses them."""
