"""Guesses at what a model says next, checked by the model itself, several tokens a step."""
