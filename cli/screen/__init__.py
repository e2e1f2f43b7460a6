"""What people see: tables, progress, units, wrapped text, error reports."""
