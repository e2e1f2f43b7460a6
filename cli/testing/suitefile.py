"""A suite read from its file, TOML or YAML: models, questions, what is expected of the answers."""

import json
import re
import tomllib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.oneshot.deadline import parse_timeout
from olmkit.cli.testing.suitetable import SuiteText, Table
from olmkit.engine.configuration.tomllines import Document, parse_document
from olmkit.modelfile.errors import InvalidParameter
from olmkit.modelfile.parameters import info

MAX_SUITE_BYTES: Final = 1 << 20
MAX_CASES: Final = 10_000
MAX_PATTERN_CHARACTERS: Final = 4096
DEFAULT_FILES: Final = ("olm-test.toml", "olm-test.yaml", "olm-test.yml")
YAML_SUFFIXES: Final = (".yaml", ".yml")
QUANT: Final = "{quant}"
A_CASE: Final = "a case is a table [[case]] in TOML, and an entry of `cases` in YAML"
ENDS: Final = ("stop", "length", "repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBudget:
    """How long an answer may take, as a multiple of what another case took of the same model."""

    case: str
    at_most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """How near an answer has to be to a text, by the cosine of their embeddings."""

    to: str
    model: str
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCall:
    """A tool that has to be called; arguments that are not named may be anything."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What an answer has to be; nothing set: there has to be one."""

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    regex: str | None = None
    exact: str | None = None
    schema: object = None
    max_tokens: int | None = None
    max_prompt_tokens: int | None = None
    end: str | None = None
    time: TimeBudget | None = None
    similar: Similarity | None = None
    call: ExpectedCall | None = None
    refusal: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question."""

    name: str
    line: int
    messages: tuple[dict[str, object], ...]
    options: dict[str, object]
    format: object
    think: bool | str | None
    tools: list[object] | None
    retries: int
    timeout_s: float | None
    expect: Expectations


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A whole suite."""

    path: Path
    models: tuple[str, ...]
    quantizations: tuple[str, ...]
    cases: tuple[Case, ...]


def read_suite(name: str) -> Suite:
    """The suite in a file.

    Raises:
        NotFound: there is no such file.
        UsageError: it is no suite; with the line.
        CliError: it cannot be read.
    """
    path = Path(name)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_SUITE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"no such suite: {name}", hint="docs/testing.md describes them") from error
    except OSError as error:
        raise CliError(f"cannot read {name}: {(error.strerror or '').lower()}") from error
    if len(raw) > MAX_SUITE_BYTES:
        raise UsageError(f"{name} is larger than {MAX_SUITE_BYTES >> 20} MiB")
    try:
        document = _document(path, raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is no UTF-8 text") from error
    return _suite(path, Table(SuiteText(name, document), document.values))


def default_suite() -> str:
    """The suite of the present directory: the first that there is of `DEFAULT_FILES`."""
    return next((name for name in DEFAULT_FILES if Path(name).exists()), DEFAULT_FILES[0])


def _document(path: Path, text: str) -> Document:
    """What the text says: YAML by the file's name, else TOML. Raises: UsageError: it is none."""
    if path.suffix.lower() in YAML_SUFFIXES:
        from olmkit.cli.testing.suiteyaml import InvalidYaml, parse_yaml

        try:
            return parse_yaml(text)
        except InvalidYaml as error:
            raise _no_suite(path, error, "it is YAML by its name") from error
    try:
        return parse_document(text)
    except tomllib.TOMLDecodeError as error:
        raise _no_suite(path, error, "suites are TOML, or YAML in a .yaml file") from error


def _no_suite(path: Path, error: Exception, hint: str) -> UsageError:
    said = str(error)
    text = f"{path}: {said[:1].lower()}{said[1:]}"
    return UsageError(text, hint=f"{hint}; see docs/testing.md")


def _suite(path: Path, table: Table) -> Suite:
    common = _Common(table)
    models, quantizations = table.texts("models"), table.texts("quantizations")
    for model in models:
        if QUANT in model and not quantizations:
            raise table.wrong("models", f"has {QUANT}, and there are no 'quantizations'")
    cases: dict[str, Case] = {}
    listed = "cases" if table.has("cases") else "case"
    for each in table.tables(listed):
        case = _case(each, common, cases.keys(), path.parent)
        cases[case.name] = case
    table.finish()
    if not cases:
        raise UsageError(f"{path} has no cases", hint=A_CASE)
    if len(cases) > MAX_CASES:
        raise UsageError(f"{path} has more than {MAX_CASES} cases")
    return Suite(path=path, models=models, quantizations=quantizations, cases=tuple(cases.values()))


class _Common:
    """What a suite says for all its cases."""

    def __init__(self, table: Table) -> None:
        self.system = table.text("system")
        self.options = _options(table)
        self.embedding_model = table.text("embedding_model")
        self.retries = table.whole("retries") or 0
        self.timeout_s = _timeout(table)


def _case(table: Table, common: _Common, earlier: Set[str], folder: Path) -> Case:
    name = table.text("name")
    if not name:
        raise table.source.error(table.path, "a case has no 'name'")
    if name in earlier:
        raise table.wrong("name", f"is that of an earlier case too: {name[:80]}")
    system = table.text("system")
    think = table.json("think", bool, str)
    tools = table.json("tools", list)
    retries = table.whole("retries")
    own_timeout_s = _timeout(table)
    case = Case(
        name=name,
        line=table.source.line_of(table.path),
        messages=_messages(table, common.system if system is None else system),
        options=common.options | _options(table),
        format=_format(table, folder),
        think=think if isinstance(think, bool | str) else None,
        tools=tools if isinstance(tools, list) else None,
        retries=common.retries if retries is None else retries,
        timeout_s=common.timeout_s if own_timeout_s is None else own_timeout_s,
        expect=_expectations(table.table("expect"), common, earlier, folder),
    )
    table.finish()
    return case


def _messages(table: Table, system: str | None) -> tuple[dict[str, object], ...]:
    prompt, turns = table.text("prompt"), table.tables("messages")
    if (prompt is None) == (not turns):
        raise table.source.error(table.path, "a case has either a 'prompt' or 'messages'")
    messages: list[dict[str, object]] = []
    if system is not None:
        messages.append({"role": "system", "content": system})
    if prompt is not None:
        messages.append({"role": "user", "content": prompt})
    for turn in turns:
        role, content = turn.text("role"), turn.text("content")
        turn.finish()
        if role is None or content is None:
            raise turn.source.error(turn.path, "a message has a 'role' and 'content'")
        messages.append({"role": role, "content": content})
    return tuple(messages)


def _options(table: Table) -> dict[str, object]:
    found = table.json("options", dict)
    options = found if isinstance(found, dict) else {}
    for key in options:
        try:
            info(key)
        except InvalidParameter as error:
            path = (*table.path, "options", key)
            near = error.suggestion
            hint = f"did you mean {near!r}?" if near else None
            raise table.source.error(path, f"{key!r} is no parameter", hint) from error
    return options


def _timeout(table: Table) -> float | None:
    value = table.json("timeout", str, int, float)
    try:
        return None if value is None else parse_timeout(str(value))
    except UsageError as error:
        raise table.wrong("timeout", "is no time such as 90s or 5m") from error


def _format(table: Table, folder: Path) -> object:
    value = table.json("format", str, dict)
    return _from_file(table, "format", value, folder) if value != "json" else value


def _from_file(table: Table, key: str, value: object, folder: Path) -> object:
    """A JSON schema that is given, or the name of its file, which is relative to the suite."""
    if not isinstance(value, str):
        return value
    path = folder / value
    try:
        with open(path, "rb") as stream:
            schema: object = json.loads(stream.read(MAX_SUITE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise table.wrong(key, f"names no file with a JSON schema: {path}") from error
    if not isinstance(schema, dict):
        raise table.wrong(key, f"names no file with a JSON schema: {path}")
    return schema


def _expectations(
    table: Table | None, common: _Common, earlier: Set[str], folder: Path
) -> Expectations:
    if table is None:
        return Expectations()
    regex, end = table.text("regex"), table.text("end")
    if regex is not None:
        _check_pattern(table, regex)
    if end is not None and end not in ENDS:
        raise table.wrong("end", f"is none of {', '.join(ENDS)}")
    expect = Expectations(
        contains=table.texts("contains"),
        not_contains=table.texts("not_contains"),
        regex=regex,
        exact=table.text("exact"),
        schema=_from_file(table, "schema", table.json("schema", str, dict), folder),
        max_tokens=table.whole("max_tokens", least=1),
        max_prompt_tokens=table.whole("max_prompt_tokens", least=1),
        end=end,
        time=_time(table.table("time"), earlier),
        similar=_similarity(table.table("similar"), common),
        call=_call(table.table("call")),
        refusal=table.flag("refusal"),
    )
    table.finish()
    return expect


def _check_pattern(table: Table, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise table.wrong("regex", f"is longer than {MAX_PATTERN_CHARACTERS} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise table.wrong("regex", f"is no regular expression: {error}") from error


def _time(table: Table | None, earlier: Set[str]) -> TimeBudget | None:
    if table is None:
        return None
    case, at_most = table.text("case"), table.number("at_most")
    table.finish()
    if case is None or at_most is None or at_most <= 0:
        raise table.source.error(
            table.path, "'time' has a 'case' and 'at_most', how many times as long"
        )
    if case not in earlier:
        raise table.wrong("case", f"names no earlier case: {case[:80]}")
    return TimeBudget(case=case, at_most=at_most)


def _similarity(table: Table | None, common: _Common) -> Similarity | None:
    if table is None:
        return None
    to, at_least = table.text("to"), table.number("at_least")
    model = table.text("model") or common.embedding_model
    table.finish()
    if to is None or at_least is None or not -1 <= at_least <= 1:
        raise table.source.error(
            table.path, "'similar' has 'to', a text, and 'at_least', a cosine such as 0.8"
        )
    if model is None:
        raise table.source.error(
            table.path, "'similar' names no 'model', nor the suite an 'embedding_model'"
        )
    return Similarity(to=to, model=model, at_least=at_least)


def _call(table: Table | None) -> ExpectedCall | None:
    if table is None:
        return None
    name, arguments = table.text("name"), table.json("arguments", dict)
    table.finish()
    if not name:
        raise table.source.error(table.path, "'call' has no 'name' of a tool")
    return ExpectedCall(name=name, arguments=arguments if isinstance(arguments, dict) else {})
