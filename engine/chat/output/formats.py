"""What the output of a family of models looks like: a description that the stage reads."""

from collections.abc import Callable
from dataclasses import dataclass

from olmkit.engine.chat.output.calls import call_id
from olmkit.engine.chat.output.callsyntax import CallSyntax
from olmkit.engine.chat.output.syntaxes.harmony import HARMONY_MARKS


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtTags:
    """The texts around a thought."""

    open: str
    close: str
    before: tuple[str, ...] = ()
    """Texts that come only after a thought: they end one that lacks its closing tag."""
    anywhere: bool = False
    """Whether the tags are control tokens, which count in the midst of an answer too; other tags
    are text there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """How a family of models writes thoughts and calls."""

    name: str
    thoughts: tuple[ThoughtTags, ...] = ()
    calls: tuple[CallSyntax, ...] = ()
    """Syntaxes of calls, tried in this order where several begin alike."""
    dropped: tuple[str, ...] = ()
    """Marks around the answer that do not belong to its text."""
    prompt_end: str = ""
    """What prompts end with that belongs to the output's syntax."""
    trims_text: bool = False
    """Whether white space between text and a call belongs to the call."""
    is_harmony: bool = False
    """Messages with headers and channels; everything but `name` is unused then."""
    new_id: Callable[[], str] = call_id

    @property
    def marks(self) -> tuple[str, ...]:
        """All texts that the syntax is made of; control tokens within them must reach the stage."""
        if self.is_harmony:
            return HARMONY_MARKS
        tags = (text for t in self.thoughts for text in (t.open, t.close, *t.before))
        calls = (mark for syntax in self.calls for mark in syntax.marks)
        return tuple(filter(None, dict.fromkeys((*tags, *calls, *self.dropped))))

    def open_thought(self, prompt: str) -> ThoughtTags | None:
        """The tags of the thought that a prompt leaves open; None when it opens none."""
        end = prompt.rstrip()
        for tags in self.thoughts:
            if end.endswith(tags.open.rstrip()):
                return tags
        return None

    @property
    def can_think(self) -> bool:
        """The model marks its thoughts."""
        return self.is_harmony or bool(self.thoughts)

    @property
    def answer_start(self) -> str:
        """What an answer begins with that is bound from its first token on."""
        return "<|channel|>final<|message|>" if self.is_harmony else ""

    def opening(self, prompt: str) -> str:
        """What makes the model think, put behind a prompt; empty where the prompt does it."""
        if self.is_harmony:
            return "<|channel|>analysis<|message|>"
        return "" if self.open_thought(prompt) is not None else self.thoughts[0].open

    def thought_stop(self, prompt: str) -> str:
        """The text that ends the thought after a prompt."""
        if self.is_harmony:
            return "<|end|>"
        return (self.open_thought(prompt) or self.thoughts[0]).close

    def closing(self, prompt: str, *, calls: bool) -> str:
        """What closes the thought and begins the answer, or the calls."""
        if self.is_harmony:
            return "<|end|><|start|>assistant" + ("" if calls else self.answer_start)
        tags = self.open_thought(prompt) or self.thoughts[0]
        return tags.close if tags.anywhere else f"{tags.close}\n\n"


PLAIN = OutputFormat(name="plain")
"""Text and nothing else."""
