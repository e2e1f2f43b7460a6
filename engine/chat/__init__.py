"""Messages to prompts: templates, rendering, truncation, output parsing."""
