"""What the runner does with tokens: batching, sampling, constraints, embeddings."""
