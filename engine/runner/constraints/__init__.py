"""Answers held to a form: grammars, compiled within limits, and the tokens that they allow."""
