"""What whoever runs a daemon asks of it: is it well, what does it do, what can it be asked."""
