"""Where a model fits: memory, layout, devices."""
