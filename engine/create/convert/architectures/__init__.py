"""One module per architecture of checkpoints that can be converted."""
