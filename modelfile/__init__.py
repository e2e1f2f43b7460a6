"""The Modelfile language and its templates, as pure text: no files, network or clock."""
