"""Whose models are: signatures told, fetched and stored for clients."""
