"""What is generated from the command tree: manual pages, completion scripts."""
