"""What a child of the daemon gives up before it looks at files of strangers."""
