"""Coding agents of others, told to use this daemon."""
