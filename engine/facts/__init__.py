"""What is known of this machine, of the engine and of how the two get on: data, no policy."""
