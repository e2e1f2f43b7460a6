"""JSON schemas that answers are held to, as clients write them and as the engine can keep them."""
