"""What the daemon tells of itself: metrics, the facts of each request, and traces."""
