"""Grammars that hold an answer to calls of tools, in the syntax of the model's own family.

Texts that a vocabulary may hold as control tokens stay names in the grammar: the runner, which has
the vocabulary, makes rules of them (`Constraint.marks`).
Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from olmkit.engine.chat.conversation import Tool, ToolChoice
from olmkit.engine.chat.output.argumentvalues import types_of
from olmkit.engine.chat.output.callsyntax import CallSyntax
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.output.syntaxes.braces import BraceCalls
from olmkit.engine.chat.output.syntaxes.jsoncalls import JsonCalls
from olmkit.engine.chat.output.syntaxes.namedcalls import NamedCalls
from olmkit.engine.chat.output.syntaxes.parametercalls import ParameterCalls
from olmkit.engine.chat.output.syntaxes.pythonic import PythonCalls
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.runner.protocol import Constraint, ConstraintKind

_LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


def calls_constraint(
    output_format: OutputFormat, tools: Sequence[Tool], choice: ToolChoice
) -> Constraint | None:
    """What an answer must look like that has to call tools; None where the model may choose.

    Raises:
        InvalidRequest: the family's syntax is one that no grammar exists for.
    """
    if not choice.is_bound:
        is_strict = any(tool.strict for tool in tools)
        return _strict_calls(output_format, tools, choice) if is_strict else None
    wanted = [tool for tool in tools if not choice.name or tool.name == choice.name]
    rules = _Rules()
    if output_format.is_harmony:
        calls = rules.either([_harmony_call(rules, tool) for tool in wanted])
        start = calls  # a message is a call, and ends the turn
    else:
        start = _start(rules, output_format, wanted, is_parallel=choice.parallel)
    return Constraint(
        kind=ConstraintKind.LARK, text=f"start: {start}\n{rules.text}", marks=rules.marks
    )


def _strict_calls(
    output_format: OutputFormat, tools: Sequence[Tool], choice: ToolChoice
) -> Constraint | None:
    """An answer that is free until it calls a tool, and then keeps to the schemas.

    None for families whose calls begin without a mark: there is nothing to tell text by.
    """
    syntax = next(iter(output_format.calls), None)
    match syntax:
        case JsonCalls() if syntax.openers:
            opener = syntax.openers[0]
        case ParameterCalls() if syntax.written.section:
            opener = syntax.written.section
        case _:
            return None
    rules = _Rules()
    calls = _start(rules, output_format, tools, is_parallel=choice.parallel, lead="until_")
    free = f"FREE: /(?s:.*)/ & ~/(?s:.*){re.escape(opener.strip())}(?s:.*)/"
    return Constraint(
        kind=ConstraintKind.LARK,
        text=f"start: FREE | {calls}\n{free}\n{rules.text}",
        marks=rules.marks,
    )


class _Rules:
    """The rules of a grammar in the making."""

    def __init__(self) -> None:
        self._rules: list[str] = []
        self.marks: dict[str, str] = {}

    @property
    def text(self) -> str:
        """All rules but the first."""
        return "".join(self._rules)

    def add(self, body: str) -> str:
        """A rule; returns its name."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}: {body}\n")
        return name

    def either(self, bodies: Sequence[str]) -> str:
        """A rule that is one of several; returns its name."""
        return self.add(" | ".join(bodies))

    def mark(self, text: str) -> str:
        """A text that may hold control tokens; nothing for an empty one."""
        if not text:
            return ""
        for name, known in self.marks.items():
            if known == text:
                return name
        name = f"mark{len(self.marks)}"
        self.marks[name] = text
        return name

    def json(self, schema: Mapping[str, Any]) -> str:
        """A JSON value of a schema."""
        text = json.dumps({**schema, "x-guidance": _LAYOUT}, ensure_ascii=False)
        return self.add(f"%json {text}")

    def arguments(self, tool: Tool) -> str:
        """The arguments of a tool as a JSON object."""
        return self.json({"type": "object", **tool.parameters})


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _start(
    rules: _Rules,
    output_format: OutputFormat,
    tools: Sequence[Tool],
    *,
    is_parallel: bool,
    lead: str = "",
) -> str:
    """The calls; `lead` comes before the first mark's name, where it begins with one."""
    syntax: CallSyntax | None = next(iter(output_format.calls), None)
    more = "*" if is_parallel else ""
    match syntax:
        case JsonCalls():
            call = rules.either([_json_call(rules, syntax, tool) for tool in tools])
            opener = rules.mark(syntax.openers[0]) if syntax.openers else ""
            closer = rules.mark(syntax.closers[0]) if syntax.openers and syntax.closers else ""
            if syntax.is_list:
                rest = f'(", " {call})*' if is_parallel else ""
                return f'{lead}{opener} "[" {call} {rest} "]" {closer}'
            if not opener:
                return call
            line = r'"\n"' if closer else ""
            body = f"{opener} {line} {call} {line} {closer}"
            one = rules.add(body)
            return rf'{lead}{body} ("\n" {one}){more}' if is_parallel and closer else lead + body
        case NamedCalls():
            call = rules.either([_named_call(rules, syntax, tool) for tool in tools])
            calls = f"{call} {call}{more}" if is_parallel else call
            return f"{rules.mark(syntax.section_open)} {calls} {rules.mark(syntax.section_close)}"
        case ParameterCalls():
            call = rules.either([_parameter_call(rules, syntax, tool) for tool in tools])
            calls = f"{call} {call}{more}" if is_parallel else call
            written = syntax.written
            return f"{lead}{rules.mark(written.section)} {calls} {rules.mark(written.section_end)}"
        case PythonCalls():
            call = rules.either([_python_call(rules, tool) for tool in tools])
            rest = f'(", " {call})*' if is_parallel else ""
            opener = rules.mark(syntax.openers[0]) if syntax.openers else ""
            closer = rules.mark(syntax.closers[0]) if syntax.closers else ""
            if syntax.lines:
                rest = rf'("\n" {call})*' if is_parallel else ""
                return f"{opener} {call} {rest} {closer}"
            return f'{opener} "[" {call} {rest} "]" {closer}'
        case BraceCalls():
            call = rules.either([_brace_call(rules, syntax, tool) for tool in tools])
            return f"{call} {call}{more}" if is_parallel else call
    raise InvalidRequest(
        f"tool_choice cannot be kept: no syntax of calls is known of a model that writes "
        f"{output_format.name}",
        field="tool_choice",
    )


def _json_call(rules: _Rules, syntax: JsonCalls, tool: Tool) -> str:
    name, arguments = syntax.keys
    begin = _literal(f'{{"{name}": {json.dumps(tool.name)}, "{arguments}": ')
    return rules.add(f'{begin} {rules.arguments(tool)} "}}"')


def _named_call(rules: _Rules, syntax: NamedCalls, tool: Tool) -> str:
    begin = rules.mark(syntax.call_open + syntax.written_head.format(name=tool.name))
    return rules.add(f"{begin} {rules.arguments(tool)} {rules.mark(syntax.call_close)}")


def _harmony_call(rules: _Rules, tool: Tool) -> str:
    begin = rules.mark(
        f"<|channel|>commentary to=functions.{tool.name} <|constrain|>json<|message|>"
    )
    return rules.add(f"{begin} {rules.arguments(tool)}")


def _parameter_call(rules: _Rules, syntax: ParameterCalls, tool: Tool) -> str:
    body = rules.mark(syntax.written.call.format(name=tool.name))
    for key, schema, is_required in _properties(tool):
        parameter = _parameter(rules, syntax, key, schema, tool)
        body += f" {parameter}" if is_required else f" ({parameter})?"
    return rules.add(f"{body} {rules.mark(syntax.written.call_end)}")


def _parameter(rules: _Rules, syntax: ParameterCalls, key: str, schema: Any, tool: Tool) -> str:
    written = syntax.written
    types = types_of(schema, tool.parameters)
    is_text = types <= {"string"}
    kind = next(iter(sorted(types)), "string")
    if syntax.type_attribute == "string":
        kind = "true" if is_text else "false"
    begin = rules.mark(written.parameter.format(key=key, type=kind))
    end = rules.mark(written.parameter_end)
    choices = schema.get("enum") if isinstance(schema, Mapping) else None
    if is_text and isinstance(choices, list) and choices:
        listed = " | ".join(_literal(str(choice)) for choice in choices)
        return rules.add(f"{begin} ({listed}) {end}")
    if is_text:
        return rules.add(f"{begin} until_{end}")
    return rules.add(f"{begin} {rules.json(_rooted(schema, tool))} {end}")


def _python_call(rules: _Rules, tool: Tool) -> str:
    required = [p for p in _properties(tool) if p[2]]
    optional = [p for p in _properties(tool) if not p[2]]
    body, is_first = _literal(f"{tool.name}("), True
    for key, schema, is_required in (*required, *optional):
        begin = _literal(f"{'' if is_first else ', '}{key}=")
        value = f"{begin} {rules.json(_rooted(schema, tool))}"
        body += f" {value}" if is_required else f" ({value})?"
        if is_first and not is_required:
            break  # a comma would depend on what was left out
        is_first = False
    return rules.add(f'{body} ")"')


def _brace_call(rules: _Rules, syntax: BraceCalls, tool: Tool) -> str:
    begin = rules.mark(f"{syntax.opener}call:{tool.name}{{")
    quote = rules.mark(syntax.quote)
    text = rules.add(f"{quote} until_{quote}")
    number = "/-?(0|[1-9][0-9]*)(\\.[0-9]+)?/"
    body, is_first = begin, True
    for key, schema, is_required in sorted(_properties(tool), key=lambda p: not p[2]):
        types = types_of(schema, tool.parameters)
        if types <= {"string"}:
            value = text
        elif types <= {"integer", "number"}:
            value = "/-?(0|[1-9][0-9]*)/" if types == {"integer"} else number
        elif types == {"boolean"}:
            value = '("true" | "false")'
        else:
            raise InvalidRequest(
                f"tool_choice cannot be kept: {tool.name} takes {key}, whose type has no grammar "
                f"in the syntax of this model",
                field="tool_choice",
            )
        pair = f"{_literal(('' if is_first else ',') + key + ':')} {value}"
        body += f" {pair}" if is_required else f" ({pair})?"
        if is_first and not is_required:
            break
        is_first = False
    return rules.add(f"{body} {rules.mark('}' + syntax.closer)}")


def _properties(tool: Tool) -> list[tuple[str, Any, bool]]:
    """Name, schema and whether it must be there, of each argument in the schema's order."""
    properties = tool.parameters.get("properties")
    required = tool.parameters.get("required")
    names = required if isinstance(required, list) else ()
    if not isinstance(properties, Mapping):
        return []
    return [(key, schema, key in names) for key, schema in properties.items()]


def _rooted(schema: Any, tool: Tool) -> dict[str, Any]:
    """The schema of one argument, with the definitions that it may refer to."""
    kept = {k: v for k, v in tool.parameters.items() if k in ("$defs", "definitions")}
    return {**kept, **schema} if isinstance(schema, Mapping) else kept
