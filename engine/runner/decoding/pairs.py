"""A query and a document as the one input that a reranking model scores.

A model that was made from a chat model brings a template for it, `rerank` among its chat
templates, with `{query}` and `{document}` in it; an encoder gets both texts between its own control
tokens.
Source: `format_prompt_rerank` of https://github.com/ggml-org/llama.cpp/blob/master/tools/server/server-common.cpp
"""

import re

from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.decoding.text.detokenizer import detokenize
from olmkit.engine.runner.failures import context_exceeded

_SPARE_TOKENS = 2
"""So many more may come of two texts that are joined than of each alone."""


class PairReader:
    """Makes the inputs of one reranking model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._template = model.chat_template("rerank")

    def tokens(self, query: str, document: str, *, limit: int, truncate: bool) -> list[int]:
        """The input, of at most `limit` tokens; with `truncate` the document loses its end.

        Raises:
            RequestFailed: CONTEXT_EXCEEDED, it is longer, or the query alone is.
        """
        whole = self._joined(query, document)
        if len(whole) <= limit:
            return whole
        room = limit - len(self._joined(query, "")) - _SPARE_TOKENS
        if not truncate or room < 1:
            raise context_exceeded(len(whole), limit)
        whole = self._joined(query, detokenize(self._model, self._text(document)[:room]))
        if len(whole) > limit:
            raise context_exceeded(len(whole), limit)
        return whole

    def _joined(self, query: str, document: str) -> list[int]:
        model = self._model
        if self._template:
            given = {"{query}": query, "{document}": document}
            parts = re.split(r"(\{query\}|\{document\})", self._template)
            text = "".join(given.get(part, part) for part in parts)
            return model.tokenize(text, add_special=False, parse_special=True)
        end = model.eos if model.eos >= 0 else model.separator
        closes = [end] if model.adds_eos else []
        separates = [model.separator] if model.adds_separator else []
        return [
            *([model.bos] if model.adds_bos else []),
            *self._text(query),
            *closes,
            *separates,
            *self._text(document),
            *(closes or separates),
        ]

    def _text(self, text: str) -> list[int]:
        return self._model.tokenize(text, add_special=False, parse_special=False)
