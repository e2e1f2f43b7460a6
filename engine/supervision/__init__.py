"""The daemon's side of its child processes: start, talk to, watch and end runners."""
