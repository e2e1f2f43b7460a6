"""The runner process itself: its start, its loop, loading."""
