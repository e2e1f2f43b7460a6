"""Conversations: rendered as prompts by the model's template, and answers taken apart again."""
