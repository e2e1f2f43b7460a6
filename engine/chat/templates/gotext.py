"""Go templates in the template worker: jobs to the interpreter of `modelfile.gotemplate`.

The interpreter has bounds of its own, on steps, nesting and output; the worker's come on top.
"""

import datetime
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from olmkit.engine.chat.templates.gochat import render_chat, render_insert
from olmkit.engine.chat.templates.renderprotocol import InsertGo, Inspected, InspectGo, RenderGo
from olmkit.engine.errors import TemplateFailed
from olmkit.modelfile.gotemplate import TemplateError
from olmkit.modelfile.gotemplate.chattemplate import ChatTemplate
from olmkit.modelfile.gotemplate.introspection import Capability, capabilities, has_tool_round_trip


@functools.lru_cache(maxsize=16)
def _parsed(template: str) -> ChatTemplate:
    return ChatTemplate.parse(template)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except TemplateError as error:
        raise TemplateFailed(str(error), hint=error.hint) from error


def render(job: RenderGo) -> str:
    """The prompt for a conversation. Raises: TemplateFailed, in Go's own words."""
    with _failures():
        return render_chat(
            _parsed(job.template),
            job.messages,
            tools=[tool.given for tool in job.tools] or None,
            think=job.think,
            today=datetime.date.today(),
        )


def insert(job: InsertGo) -> str:
    """The prompt for what belongs between two texts. Raises: TemplateFailed."""
    with _failures():
        return render_insert(
            _parsed(job.template), job.prompt, job.suffix, today=datetime.date.today()
        )


def inspect(job: InspectGo) -> Inspected:
    """What the template takes account of. Raises: TemplateFailed when it does not parse."""
    with _failures():
        template = _parsed(job.template).template
        found = capabilities(template)
        return Inspected(
            tools=Capability.TOOLS in found,
            insert=Capability.INSERT in found,
            thinking=Capability.THINKING in found,
            tool_round_trip=has_tool_round_trip(template),
        )
