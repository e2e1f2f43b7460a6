"""Suites of questions and what is expected of the answers: `olm test`."""
