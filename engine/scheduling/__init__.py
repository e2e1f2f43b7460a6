"""Which models are loaded: a pure scheduler and the pool that carries out its effects."""
