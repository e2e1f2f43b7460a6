"""One answer for a script: what it is asked with, how it is printed, and how it may end."""
