"""What prompts leave behind: in the KV pool, in main memory, on disk."""
