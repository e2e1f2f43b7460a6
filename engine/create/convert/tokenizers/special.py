"""Special tokens: which ids begin, end, separate, pad; what is added to a prompt; chat template.

The rules are those of gguf-py's `SpecialVocab` (llama.cpp, gguf-py/gguf/vocab.py), so that the
same checkpoint gets the same keys: names from tokenizer_config.json resolved through the added
tokens of tokenizer.json, then ids from config.json; what a post-processor adds wins over
`add_*_token`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.vocabulary import json_tokens, token_name
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata

_KEYS: Final = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # spelled so by GGUF
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
}
_TYPES: Final = ("bos", "eos", "unk", "sep", "pad", "mask")
_ADDED: Final = ("bos", "eos", "sep")
"""Kinds that GGUF has an `add_*_token` key for."""


def special_tokens(checkpoint: Checkpoint, *, size: int) -> Metadata:
    """The keys for special tokens, automatic additions, template and normalizer.

    Raises:
        ModelNotCreatable: a file of the wrong form.
    """
    names = {
        kind: token_name(checkpoint.find_object("tokenizer_config.json").get(f"{kind}_token"))
        for kind in (*_TYPES, "cls")
    }
    tokenizer = checkpoint.find_object("tokenizer.json")
    adds: dict[str, bool] = {}
    if tokenizer:
        names["bos"] = names["bos"] or names["cls"]
        names["eos"] = names["eos"] or names["sep"]
        for processor in _processors(tokenizer):
            _apply(processor, names, adds)
    result: Metadata = {}
    for kind, token_id in _ids(checkpoint, names, size).items():
        result[f"tokenizer.ggml.{_KEYS[kind]}"] = token_id
    config = checkpoint.find_object("tokenizer_config.json")
    for kind in _ADDED:
        value = adds.get(kind, config.get(f"add_{kind}_token"))
        if isinstance(value, bool):
            result[f"tokenizer.ggml.add_{kind}_token"] = value
    return result | _chat_template(checkpoint) | _normalizer(tokenizer.get("normalizer"))


def _ids(checkpoint: Checkpoint, names: Mapping[str, str | None], size: int) -> dict[str, int]:
    """Kind to id, for those that are known and within the vocabulary."""
    by_text: dict[str, int] = {}
    for token in json_tokens(checkpoint):
        by_text.setdefault(token.text, token.id)
    config = checkpoint.find_object("config.json")
    nested = config.get("text_config")
    result: dict[str, int] = {}
    for kind in [*_TYPES, *(kind for kind in ("eot", "eom") if names.get(kind))]:
        key = f"{kind}_token_id"
        candidates = [by_text.get(names.get(kind) or ""), config.get(key)]
        if isinstance(nested, dict) and config.get(key) is None:
            candidates.append(nested.get(key))
        for value in candidates:
            if type(value) is int and 0 <= value < size:
                result[kind] = value
                break
    return result


def _processors(tokenizer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    processor = tokenizer.get("post_processor")
    if not isinstance(processor, dict):
        return []
    several = processor.get("processors")
    items = several if isinstance(several, list) else [processor]
    return [item for item in items if isinstance(item, dict)]


def _apply(
    processor: Mapping[str, Any], names: dict[str, str | None], adds: dict[str, bool]
) -> None:
    """Take over what one post-processor adds to a sequence."""
    kind = processor.get("type")
    if kind == "ByteLevel":
        adds.setdefault("bos", False)
        adds.setdefault("eos", False)
    elif kind == "RobertaProcessing":
        adds |= dict.fromkeys(_ADDED, True)
        names["cls"] = names["cls"] or _first(processor.get("cls")) or names["bos"]
        names["sep"] = names["sep"] or _first(processor.get("sep")) or names["eos"]
    elif kind == "TemplateProcessing":
        first, last = _apply_single(_items(processor, "single"), names, adds)
        _apply_pair(_items(processor, "pair"), first, last, names, adds)


def _apply_single(
    single: Sequence[Mapping[str, Any]], names: dict[str, str | None], adds: dict[str, bool]
) -> tuple[str | None, str | None]:
    """What is put before and after one sequence."""
    if len(single) < 2:
        return None, None
    first, last = _special(single[0]), _special(single[-1])
    if first:
        names["bos"] = names["bos"] or first
        names["cls"] = names["cls"] or first
        adds["bos"] = first in (names["bos"], names["cls"])
    if last:
        if names["eos"] and last != names["eos"]:
            names["eom" if names.get("eot") else "eot"] = names["eos"]
        names["eos"] = last
        adds["eos"] = True
    return first, last


def _apply_pair(
    pair: Sequence[Mapping[str, Any]],
    first: str | None,
    last: str | None,
    names: dict[str, str | None],
    adds: dict[str, bool],
) -> None:
    """Whether a separator stands between two sequences."""
    if not pair:
        return
    begin = 1 if first and _special(pair[0]) == first else 0
    end = len(pair) - 1 if last and _special(pair[-1]) == last else len(pair)
    inner = pair[begin:end]
    if len(inner) < 3 or _sequence(inner[0]) != "A" or _sequence(inner[-1]) != "B":
        return
    separators = [item for item in map(_special, inner[1:-1]) if item]
    ends = (names["sep"], names["eos"])
    adds["sep"] = bool(
        (separators and separators[0] in ends and not last)
        or (len(inner) == 4 and len(separators) == 2 and separators[1] in ends)
    )
    if adds["sep"]:
        names["sep"] = names["sep"] or names["eos"]


def _items(processor: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = processor.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _special(item: Mapping[str, Any]) -> str | None:
    entry = item.get("SpecialToken")
    return token_name({"content": entry.get("id")}) if isinstance(entry, dict) else None


def _sequence(item: Mapping[str, Any]) -> Any:
    entry = item.get("Sequence")
    return entry.get("id") if isinstance(entry, dict) else None


def _first(value: Any) -> str | None:
    return token_name(value[0]) if isinstance(value, list) and value else None


def _normalizer(normalizer: Any) -> Metadata:
    result: Metadata = {}
    if not isinstance(normalizer, dict):
        return result
    lowercase, strip_accents = None, None
    match normalizer.get("type"):
        case "Lowercase":
            lowercase = True
        case "StripAccents":
            strip_accents = True
        case "BertNormalizer":
            lowercase, strip_accents = normalizer.get("lowercase"), normalizer.get("strip_accents")
        case "Sequence":
            for item in _items(normalizer, "normalizers"):
                result |= _normalizer(item)
    if isinstance(lowercase, bool):
        result["tokenizer.ggml.normalizer.lowercase"] = lowercase
    if isinstance(strip_accents, bool):
        result["tokenizer.ggml.normalizer.strip_accents"] = strip_accents
    return result


def _chat_template(checkpoint: Checkpoint) -> Metadata:
    """The default template and named ones beside it.

    Files of their own first, then tokenizer_config.json, then chat_template.json.
    Source: transformers, tokenization_utils_base.py, `_from_pretrained`.
    """
    template: Any = [
        {"name": name, "template": checkpoint.text(path)}
        for path in checkpoint.names()
        if (name := _template_name(path))
    ]
    if not template:
        template = checkpoint.find_object("tokenizer_config.json").get("chat_template")
    if template is None:
        template = checkpoint.find_object("chat_template.json").get("chat_template")
    if isinstance(template, str):
        return {"tokenizer.chat_template": template}
    return _named_templates(template) if isinstance(template, list) else {}


def _template_name(path: str) -> str:
    """The name of the chat template that a file holds; empty when it is none."""
    if path == "chat_template.jinja":
        return "default"
    folder, _, file = path.rpartition("/")
    is_named = folder == "additional_chat_templates" and file.endswith(".jinja")
    return file.removesuffix(".jinja") if is_named else ""


def _named_templates(templates: list[Any]) -> Metadata:
    result: Metadata = {}
    names: set[str] = set()
    for entry in templates:
        name = entry.get("name") if isinstance(entry, dict) else None
        text = entry.get("template") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(text, str):
            raise ModelNotCreatable("tokenizer_config.json: chat_template is of the wrong form")
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
        if plain == "default":
            result["tokenizer.chat_template"] = text
        elif plain:
            names.add(plain)
            result[f"tokenizer.chat_template.{plain}"] = text
    return ({"tokenizer.chat_templates": sorted(names)} if names else {}) | result
