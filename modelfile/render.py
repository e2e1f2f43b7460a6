"""A Modelfile to text: `parse(render(m)) == m` for every Modelfile.

Quotes are Ollama's own, and used only where they are needed. One kind of value has no place in
them: a line that ends with three quotes and is not the last. Then the text declares
`ARG QUOTE` with a quote as its value and says `${QUOTE}` for it, which only olm reads.
Source: docs/modelfile.md, "Printing"; `quote` of
https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go
"""

from olmkit.modelfile.arguments import escape
from olmkit.modelfile.diagnostics import Code
from olmkit.modelfile.errors import NotRepresentable
from olmkit.modelfile.instructions import (
    Instruction,
    Message,
    Modelfile,
    Parameter,
    TextInstruction,
)
from olmkit.modelfile.parameters import format_value
from olmkit.modelfile.quoting import Values

_DECLARATION = 'ARG QUOTE="""""""'


def render(modelfile: Modelfile, *, compatible: bool = False) -> str:
    """The text of `modelfile`: one command after the other, empty when there is none.

    `compatible` text means the same to Ollama, but for the characters that it drops from any
    value (see `check`).

    Raises:
        NotRepresentable: `compatible`, and a value that Ollama's language cannot say.
    """
    commands = [(_start(each), _operand(each)) for each in modelfile.instructions]
    quoted = [quote(operand, compatible=compatible) for _, operand in commands]
    lines: list[str] = []
    if None in quoted:
        if compatible:
            keyword = modelfile.instructions[quoted.index(None)].keyword
            raise NotRepresentable(
                f"{keyword} has a line that ends with three quotes, which ollama cannot read",
                code=Code.NOT_IN_OLLAMA,
                keyword=keyword,
            )
        lines.append(_DECLARATION)
        quoted = [_with_argument(operand) for _, operand in commands]
    lines += [f"{start} {value}" for (start, _), value in zip(commands, quoted, strict=True)]
    return "".join(f"{line}\n" for line in lines)


def quote(text: str, *, compatible: bool = False) -> str | None:
    """`text` as an operand, in as few quotes as do; None when no quotes do."""
    candidates = [text] if text else []
    candidates += [f'"""{text}"""', f'"{text}"'] if '"' in text else [f'"{text}"']
    return next((each for each in candidates if _reads_as(each, text, compatible)), None)


def _reads_as(written: str, text: str, compatible: bool) -> bool:
    values = Values(f"{written}\n", comments=not compatible)
    if written[0] in "\r\n" or values.skip_blanks(0) > 0:
        return False
    value = values.find(0)
    return (
        value is not None
        and value.end == len(written)
        and written[value.content_start : value.content_end] == text
    )


def _with_argument(text: str) -> str:
    """`text` as an operand in a file that declares QUOTE."""
    text = escape(text)
    return quote(text) or '"""' + text.replace('"""', '""${QUOTE}') + '"""'


def _start(instruction: Instruction) -> str:
    match instruction:
        case Parameter(name=name):
            return f"PARAMETER {name}"
        case Message(role=role):
            return f"MESSAGE {role}"
    return instruction.keyword


def _operand(instruction: Instruction) -> str:
    match instruction:
        case Parameter(value=value):
            return format_value(value)
        case Message(value=text) | TextInstruction(value=text):
            return text
    raise TypeError(instruction)
