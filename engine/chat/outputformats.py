"""The output formats of models: found once for each, by two renderings in the template worker."""

from typing import Final

from olmkit.engine.chat.conversation import Conversation
from olmkit.engine.chat.output.detection import (
    ANSWERED,
    CALLED,
    QUESTION,
    find_format,
    named_format,
)
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.rendering import Renderer
from olmkit.engine.errors import TemplateFailed, TemplateTooSlow
from olmkit.engine.models.capabilities import TemplateFacts
from olmkit.engine.models.spec import ModelSpec

MAX_FORMATS: Final = 64


class OutputFormats:
    """Finds and remembers formats. Used from the event loop."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._found: dict[str, OutputFormat] = {}

    async def find(self, spec: ModelSpec, go_facts: TemplateFacts | None) -> OutputFormat:
        """The format that a model writes; what its `PARSER` names goes before all else.

        A template that cannot be rendered makes it plain text: whoever renders it gets the error.

        Raises:
            TemplateTooSlow: nothing is known, and nothing remembered.
        """
        key = f"{spec.digest} {spec.config.parser}"
        if key not in self._found:
            found = await self._find(spec, go_facts)
            while len(self._found) >= MAX_FORMATS:
                self._found.pop(next(iter(self._found)))
            self._found[key] = found
        return self._found[key]

    async def _find(self, spec: ModelSpec, go_facts: TemplateFacts | None) -> OutputFormat:
        template = self._renderer.choose(spec, go_facts).template
        named = named_format(spec.config.parser or "", template)
        if named is not None:
            return named
        question = await self._rendered(spec, QUESTION, go_facts)
        called = await self._rendered(spec, CALLED, go_facts)
        if not called:
            called = await self._rendered(spec, ANSWERED, go_facts)
        return find_format(template + (spec.gguf.tool_template or ""), question, called)

    async def _rendered(
        self, spec: ModelSpec, conversation: Conversation, go_facts: TemplateFacts | None
    ) -> str:
        try:
            prompt = await self._renderer.render(spec, conversation, go_facts=go_facts)
        except TemplateTooSlow:
            raise  # tells nothing of the format, and each further try costs as much time
        except TemplateFailed:
            return ""
        return prompt.text
