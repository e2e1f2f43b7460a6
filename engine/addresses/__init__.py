"""Where the daemon is found: its addresses, the sockets that listen there, and their TLS."""
