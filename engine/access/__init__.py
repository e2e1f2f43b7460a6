"""Who may use the daemon: keys, what each may do, and how the daemon asks for them."""
