"""Every Modelfile that Ollama accepts is accepted, with the same meaning.

The judge is Ollama's state machine, written out rune by rune, beside the parser's own way of
reading. Source: https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go
"""

import re

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from olmkit.modelfile.errors import InvalidParameter, ModelfileError
from olmkit.modelfile.instructions import Message, Modelfile, Parameter, parse_version
from olmkit.modelfile.parameters import DEPRECATED, parse_value
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors

KEYWORDS = ["from", "license", "template", "system", "adapter", "draft", "renderer", "parser"]
KEYWORDS += ["parameter", "message", "requires"]
Pair = tuple[str, object]


class Rejected(Exception):
    """Ollama's parser refuses the file."""


def unquote(text: str) -> str | None:
    """The value of a complete text, None while a quote is open."""
    text = text.strip(" \t\r\n")
    for quote in ('"""', '"'):
        if text.startswith(quote):
            closed = len(text) >= 2 * len(quote) and text.endswith(quote)
            return text[len(quote) : -len(quote)] if closed else None
    return text


def ollama_commands(text: str) -> list[tuple[str, str]]:
    """Pairs of name and argument as Ollama's parser makes them."""
    pairs: list[tuple[str, str]] = []
    state, buffer, name, role = "between", "", "", ""
    for rune in text:
        is_space, is_newline = rune in " \t", rune in "\r\n"
        kept = rune if rune.isprintable() else ""
        if state == "comment":
            state = "between" if is_newline else state
        elif state == "between":
            if rune == "#":
                state = "comment"
            elif not is_space and not is_newline:
                state, buffer = "keyword", kept
        elif state == "keyword":
            if rune.isascii() and rune.isalpha():
                buffer += rune
            elif not is_space or buffer.lower() not in KEYWORDS:
                raise Rejected
            else:
                name = {"from": "model"}.get(buffer.lower(), buffer.lower())
                state = name if name in ("parameter", "message") else "value"
                buffer = ""
        elif state in ("parameter", "message"):
            is_letter = rune.isascii() and (
                rune.isalpha() if state == "message" else rune.isalnum()
            )
            if is_letter or (rune == "_" and state == "parameter"):
                buffer += rune
            elif not is_space:
                raise Rejected
            elif state == "parameter":
                state, name, buffer = "value", buffer, ""
            elif buffer in ("system", "user", "assistant"):
                state, role, buffer = "value", buffer, ""
            else:
                raise Rejected
        elif is_newline and (value := unquote(buffer)) is not None:
            pairs.append((name, f"{role}: {value}" if role else value))
            state, buffer, role = "between", "", ""
        else:
            buffer += rune if is_space or is_newline else kept
    if state == "value" and (value := unquote(buffer)) is not None:
        pairs.append((name, f"{role}: {value}" if role else value))
    elif state not in ("between", "comment"):
        raise Rejected
    if not any(name == "model" for name, _ in pairs):
        raise Rejected
    return pairs


def ollama_meaning(text: str) -> list[Pair]:
    """What Ollama's client sends, as pairs, parameters typed and deprecated ones dropped."""
    pairs: list[Pair] = []
    for name, value in ollama_commands(text):
        if name in DEPRECATED:
            continue
        if name == "requires":
            try:
                pairs.append((name, parse_version(value)))
            except ModelfileError as error:
                raise Rejected from error
        elif name == "model" or name in KEYWORDS[1:]:
            pairs.append((name, value))
        else:
            try:
                pairs.append((name, parse_value(name, value, compatible=True)))
            except InvalidParameter as error:
                raise Rejected from error
    return pairs


def meaning(modelfile: Modelfile) -> list[Pair]:
    pairs: list[Pair] = []
    for each in modelfile.instructions:
        match each:
            case Parameter(name=name, value=value):
                pairs.append((name, value))
            case Message(role=role, value=value):
                pairs.append(("message", f"{role}: {value}"))
            case _:
                name = {"FROM": "model"}.get(each.keyword, each.keyword.lower())
                pairs.append((name, getattr(each, "value", None)))
    return pairs


def is_refused_on_purpose(pairs: list[Pair]) -> bool:
    """What Ollama reads and nobody means: an empty path, the model as its own draft, bad roles."""
    names = {value for name, value in pairs if name == "model"}
    return any(
        (name in ("model", "adapter", "draft") and value == "")
        or (name == "draft" and value in names)
        or (name == "message" and str(value).split(": ")[0] not in ("system", "user", "assistant"))
        for name, value in pairs
    )


PRINTED = [
    '"',
    '""',
    '"""',
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "x",
    "y z",
    "é",
    "${A}",
    "\\",
    "'",
    "0.5",
]
DROPPED = ["\xa0", "\u200b", "\x07", "\u3000"]
# Ollama sees three quotes where something that it drops stands between them; olm does not.
QUOTES_BROKEN_BY_DROPPED = re.compile(f'"[{"".join(DROPPED)}]+"')
NAMES = ["num_ctx ", "stop ", "temperature ", "seed 1", "mirostat 1", "system ", "model ", "x "]
LINES = [*(f"{word} " for word in (*KEYWORDS, *map(str.upper, KEYWORDS))), "MESSAGE user "]
LINES += [f"PARAMETER {name}" for name in NAMES] + ["FROM m\n", "REQUIRES 1.2\n", "\n", "# c\n"]
LINES += ["MESSAGE assistant ", "PARAMETER  seed 1", "FORM ", "SYSTEM", "SYSTEM\t"]


def files(pieces: list[str]) -> st.SearchStrategy[str]:
    line = st.tuples(
        st.sampled_from(LINES), st.lists(st.sampled_from(pieces), max_size=6).map("".join)
    )
    lines = st.lists(line.map("".join), max_size=6)
    return lines.map("\n".join).map(lambda text: f"FROM base\n{text}")


@settings(max_examples=400, deadline=None)
@given(files([*PRINTED, "#", "# c"]))
@example('FROM a\nSYSTEM """""\n"""')
@example('FROM a\nSYSTEM "" "\n"')
@example('FROM a\nSYSTEM """x""" y\nLICENSE z"""')
@example('FROM a\nSYSTEM "\r\n"\r\nLICENSE ""')
def test_compatible_means_what_ollama_means(text: str) -> None:
    try:
        expected = ollama_meaning(text)
    except Rejected:
        return
    if is_refused_on_purpose(expected):
        return
    assert meaning(parse(text, compatible=True)) == expected


@settings(max_examples=400, deadline=None)
@given(files(PRINTED))
def test_olm_means_what_ollama_means(text: str) -> None:
    try:
        expected = ollama_meaning(text)
    except Rejected:
        return
    if not is_refused_on_purpose(expected):
        assert meaning(parse(text)) == expected


@settings(max_examples=400, deadline=None)
@given(files([*PRINTED, "#", "# c"]))
def test_compatible_refuses_what_ollama_refuses(text: str) -> None:
    try:
        parse(text, compatible=True)
    except ModelfileErrors:
        return
    ollama_meaning(text)


@settings(deadline=None)
@given(files([*PRINTED, *DROPPED]))
def test_only_characters_that_ollama_drops_are_more(text: str) -> None:
    assume(not QUOTES_BROKEN_BY_DROPPED.search(text))
    try:
        expected = ollama_meaning(text)
        read = meaning(parse(text))
    except (Rejected, ModelfileErrors):
        return
    dropped = str.maketrans("", "", "".join(DROPPED))
    visible = [
        (name, value.translate(dropped) if isinstance(value, str) else value)
        for name, value in read
    ]
    assert visible == expected
