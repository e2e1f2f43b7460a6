"""How families of models write calls of tools: one module a shape, described by data."""
