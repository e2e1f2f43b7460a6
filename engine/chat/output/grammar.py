"""Grammars that hold an answer to calls of tools, in the syntax of the model's own family."""

from collections.abc import Sequence

from olmkit.engine.chat.conversation import Tool, ToolChoice
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.runner.protocol import Constraint


def calls_constraint(
    output_format: OutputFormat, tools: Sequence[Tool], choice: ToolChoice
) -> Constraint | None:
    """What an answer must look like that has to call tools; None where the model may choose."""
    return None
