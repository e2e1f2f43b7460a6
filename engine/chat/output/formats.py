"""What the output of a family of models looks like: a description that the stage reads."""

from collections.abc import Callable
from dataclasses import dataclass

from olmkit.engine.chat.output.calls import call_id
from olmkit.engine.chat.output.context import CallSyntax


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtTags:
    """The texts around a thought."""

    open: str
    close: str
    before: tuple[str, ...] = ()
    """Texts that come only after a thought: they end one that lacks its closing tag."""
    anywhere: bool = False
    """They are control tokens: they count in the midst of an answer too, where tags are text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """How a family of models writes thoughts and calls."""

    name: str
    thoughts: tuple[ThoughtTags, ...] = ()
    calls: tuple[CallSyntax, ...] = ()
    """Tried in this order where several begin alike."""
    dropped: tuple[str, ...] = ()
    """Marks around the answer that are none of it."""
    prompt_end: str = ""
    """What prompts end with that belongs to the output's syntax."""
    trims_text: bool = False
    """White space between text and a call belongs to the call."""
    is_harmony: bool = False
    """Messages with headers and channels; everything but `name` is unused then."""
    new_id: Callable[[], str] = call_id

    def open_thought(self, prompt: str) -> ThoughtTags | None:
        """The tags of the thought that a prompt leaves open; None when it opens none."""
        end = prompt.rstrip()
        for tags in self.thoughts:
            if end.endswith(tags.open.rstrip()):
                return tags
        return None


PLAIN = OutputFormat(name="plain")
"""Text and nothing else."""
