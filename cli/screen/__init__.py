"""The output for people: tables, progress, units, wrapped text, error reports."""
