"""What a model is asked for, whatever API asks: one place between the APIs and the runners."""
