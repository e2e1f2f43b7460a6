r"""How BPE tokenizers cut text into words before merging, by llama.cpp's names for it.

llama.cpp has a fixed set of pre-tokenizers, its converter finds the name by hashing what the
tokenizer makes of a test text. Here the name follows from what tokenizer.json says that the
pre-tokenizer does: the regular expressions are those that src/llama-vocab.cpp quotes as "original
regex from tokenizer.json" beside each name.
"""

from typing import Any, Final

from olmkit.engine.errors import ModelNotCreatable

_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL: Final = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{C}"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{C}"
)
_LLAMA3: Final = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _TAIL
)
_QWEN2: Final = _LLAMA3.replace(r"\p{N}{1,3}|", r"\p{N}|")
_QWEN35: Final = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
    + _TAIL
)
_TEKKEN: Final = _LETTERS.replace("{C}", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _TAIL
_GPT4O: Final = (
    _LETTERS.replace("{C}", _CONTRACTIONS + "?")
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    + _TAIL
)
_GPT2: Final = "GPT-2"
"""ByteLevel's own expression."""
_DIGITS: Final = r"\p{N}"

_NAMES: Final[dict[tuple[str, ...], str]] = {
    (_LLAMA3,): "llama-bpe",
    (_QWEN2,): "qwen2",
    (_QWEN35,): "qwen35",
    (_TEKKEN,): "tekken",
    (_GPT4O,): "gpt-4o",
    (_GPT2,): "gpt-2",
    (_DIGITS, _GPT2): "smollm",
}
_WITHOUT_WHOLE_WORDS: Final = {"llama-bpe": "dbrx"}
"""The same expressions under the name that always merges."""


def pretokenizer_name(tokenizer: dict[str, Any]) -> str:
    """`tokenizer.ggml.pre` for the parsed tokenizer.json.

    Raises:
        ModelNotCreatable: llama.cpp has no such pre-tokenizer.
    """
    steps = _steps(tokenizer.get("pre_tokenizer"))
    name = _NAMES.get(tuple(steps))
    if name in _WITHOUT_WHOLE_WORDS and tokenizer["model"].get("ignore_merges") is not True:
        name = _WITHOUT_WHOLE_WORDS[name]
    if name is None:
        raise ModelNotCreatable(
            f"tokenizer.json: llama.cpp has no pre-tokenizer like {' then '.join(steps)[:300]!r}"
        )
    return name


def _steps(step: Any) -> list[str]:
    """The expressions by which the text is cut, one after the other."""
    if not isinstance(step, dict):
        return []
    kind = step.get("type")
    if kind == "Sequence" and isinstance(step.get("pretokenizers"), list):
        return [text for inner in step["pretokenizers"] for text in _steps(inner)]
    if kind == "ByteLevel" and step.get("add_prefix_space") is not True:
        return [] if step.get("use_regex") is False else [_GPT2]
    if kind == "Digits" and step.get("individual_digits") is True:
        return [_DIGITS]
    if kind == "Split" and isinstance(pattern := step.get("pattern"), dict):
        behavior = (step.get("behavior"), step.get("invert") is True)
        if behavior in (("Isolated", False), ("Removed", True)):
            return [str(pattern.get("Regex", pattern))]
    return [str(step)]
