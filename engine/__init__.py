"""The daemon: loaded models, their scheduling and the HTTP APIs."""
