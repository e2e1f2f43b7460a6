"""Go's text/template, as models use it: parse and evaluate untrusted templates within bounds."""
