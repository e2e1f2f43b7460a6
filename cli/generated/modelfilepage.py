"""The manual page Modelfile(5), from the instructions and the table of parameters."""

import json

from olmkit.cli.generated.roff import definitions, escaped, head
from olmkit.modelfile.instructions import Instruction
from olmkit.modelfile.parameters import TABLE, ParameterInfo, ParameterType, format_value

_WHAT = """A Modelfile says what a model is made of. It is a list of instructions, each a keyword,
in letters of any case, and a value. Blanks around a value are trimmed, and there are no escapes. A
value ends with its line, or stands in quotes, or between two marks of three quotes, and may then
have several lines. A
.B #
between instructions begins a comment.
.PP
Every file that Ollama accepts is accepted, and means the same."""
_OPERANDS = {
    "PARAMETER": "PARAMETER name value",
    "MESSAGE": "MESSAGE role text",
    "ARG": "ARG NAME=default",
}
_MEANINGS = {
    "PARAMETER": "An option of the model, of those below. The last wins; texts add up to a list.",
    "REQUIRES": "The least version of the program, as a semantic version.",
}
"""Where the word for authors of code is not one for authors of Modelfiles."""
_TAKES = {
    ParameterType.INTEGER: "An integer",
    ParameterType.FLOAT: "A number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.STRINGS: "Text, repeatable",
}
_ARGUMENT = {
    "ARG NAME=default": "A text that --build-arg of `olm create` sets, for ${NAME} in later values."
}
_EXAMPLE = '''FROM llama3.2
PARAMETER temperature 0.2
PARAMETER stop "</answer>"
SYSTEM """
You answer in one sentence.
"""'''


def modelfile_page() -> str:
    """The page in the macros of man(7)."""
    instructions = {
        _OPERANDS.get(kind.keyword, f"{kind.keyword} value"): _meaning(kind) for kind in _kinds()
    }
    parts = [
        head("Modelfile", "what olm makes a model of", section=5, is_name=True),
        f".SH DESCRIPTION\n{_WHAT}",
        definitions("INSTRUCTIONS", instructions | _ARGUMENT),
        definitions("PARAMETERS", {row.name: _described(row) for row in TABLE.values()}),
        f".SH EXAMPLE\n.nf\n{escaped(_EXAMPLE)}\n.fi",
        ".SH SEE ALSO\n.BR olm\\-create (1),\n.BR olm\\-show (1),\n.BR olm (1)",
    ]
    return "\n".join(parts) + "\n"


def _kinds() -> list[type[Instruction]]:
    """Every instruction that has a keyword, in the order of the source."""
    kinds, todo = [], [Instruction]
    while todo:
        kind = todo.pop(0)
        if "keyword" in vars(kind):
            kinds.append(kind)
        todo[:0] = kind.__subclasses__()
    return kinds


def _meaning(kind: type[Instruction]) -> str:
    if kind.keyword in _MEANINGS:
        return _MEANINGS[kind.keyword]
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _described(row: ParameterInfo) -> str:
    text = f"{row.meaning[:1].upper()}{row.meaning[1:]}. {_TAKES[row.type]}"
    text += f", in {row.unit}" if row.unit else ""
    text += f", {row.range}" if row.range else ""
    if row.default is None:
        return f"{text}. The default is chosen."
    if isinstance(row.default, tuple):
        shown = " ".join(map(json.dumps, row.default)) or "none"
    else:
        shown = format_value(row.default)
    return f"{text}. The default is {shown}."
