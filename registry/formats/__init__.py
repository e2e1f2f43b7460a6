"""How artifacts are laid out: each module maps a manifest's layers to a model and back."""
