"""What `olm bench` asks a model, how it takes times, and how runs are kept and compared."""
