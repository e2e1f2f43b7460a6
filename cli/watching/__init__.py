"""What a daemon does while one looks: events, rates, its log, the state of models."""
