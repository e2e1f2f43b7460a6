"""What models can be put on: asked of the engine in a process of its own, told apart, counted."""
