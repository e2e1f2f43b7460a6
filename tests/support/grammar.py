"""Whether a text is an answer to a schema, by the engine's own grammar, without a model."""

import functools
import json
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from olmkit.engine.jsonschema.rewriting import Rewritten
from olmkit.engine.runner.constraints.grammars import LAYOUT


@functools.cache
def _bytes() -> LLTokenizer:
    """A vocabulary of the 256 bytes."""
    return LLTokenizer("byte")


def accepts(schema: Rewritten, value: Any) -> bool:
    """Whether the value, written as JSON, is a whole answer.

    Raises:
        ValueError: the schema is none that the engine keeps.
    """
    grammar = LLMatcher.grammar_from_json_schema(schema.text, overrides=LAYOUT)
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise ValueError(f"{matcher.get_error()}\n{schema.text}")
    text = list(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if matcher.validate_tokens(text) < len(text):
        return False
    matcher.consume_tokens(text)
    return bool(matcher.is_accepting())
