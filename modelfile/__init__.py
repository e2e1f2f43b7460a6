"""The Modelfile language and its templates: text to instructions and back. No files, network or clock."""
