"""What a script binds an answer to: flags and files made into the fields of a request."""

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from olmkit.cli.building.jsonfiles import read_file, read_json
from olmkit.cli.chat.asking import parse_format
from olmkit.cli.errors import UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.modelfile.errors import InvalidParameter
from olmkit.modelfile.parameters import ParameterType, info, parse_value

SYNTAXES: Final = {".gbnf": "gbnf", ".lark": "lark", ".regex": "regex"}
"""The syntax of a grammar by the suffix of its file."""


def read_format(format_: str, schema_file: str, grammar_file: str, terminal: Terminal) -> object:
    """The `format` of a request: `"json"`, a JSON schema, a grammar, or None.

    Raises:
        UsageError: more than one of the three, or a file that holds something else.
        NotFound: no such file.
    """
    if sum(map(bool, (format_, schema_file, grammar_file))) > 1:
        raise UsageError("only one of --format, --schema and --grammar can be given")
    if schema_file:
        schema = read_json(schema_file, terminal)
        if not isinstance(schema, dict):
            raise UsageError(f"{schema_file} holds no JSON schema object")
        return schema
    if grammar_file:
        syntax = SYNTAXES.get(PurePath(grammar_file).suffix.lower())
        if syntax is None:
            raise UsageError(
                f"the syntax of {grammar_file} is not known from its name",
                hint=f"name it after its syntax: {', '.join(SYNTAXES)}",
            )
        try:
            text = read_file(grammar_file, terminal).decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"{grammar_file} is no UTF-8 text") from error
        if syntax == "regex":
            text = text.removesuffix("\n")
        return {"type": "grammar", "syntax": syntax, "definition": text}
    return parse_format(format_)


def parse_assignments(assignments: Sequence[str]) -> dict[str, object]:
    """The parameters in `KEY=VALUE` words; a key that takes a list may come several times.

    Raises:
        UsageError: no such parameter, or a value that it does not take.
    """
    options: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"invalid value for --set: {assignment!r} is no KEY=VALUE")
        try:
            is_list = info(name).type is ParameterType.STRINGS
            value = parse_value(name, text)
        except InvalidParameter as error:
            raise UsageError(f"invalid value for --set: {error}", hint=error.hint) from error
        if is_list:
            listed = options.setdefault(name, [])
            assert isinstance(listed, list)
            listed.append(value)
        else:
            options[name] = value
    return options


def is_json_format(format_: object) -> bool:
    """Whether an answer in this format has to be JSON."""
    return format_ == "json" or (isinstance(format_, dict) and format_.get("type") != "grammar")


def parse_json_answer(text: str) -> object:
    """The value of an answer. Raises: ValueError."""
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value
