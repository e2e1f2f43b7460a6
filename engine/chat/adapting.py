"""Conversations made such that strict templates take them.

Some chat templates refuse what clients send: a system message (Gemma), two turns of one role in a
row (Gemma, Mistral). Others leave a system message out without a word. What can be said in the
form that they take is said so; the rest is refused, in the template's own words.

Source: https://huggingface.co/google/gemma-2-2b-it/blob/main/tokenizer_config.json,
https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.1/blob/main/tokenizer_config.json
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from olmkit.engine.chat.conversation import Conversation, Message
from olmkit.engine.errors import TemplateFailed, TemplateTooSlow

Render = Callable[[Conversation], Awaitable[str]]

_SYSTEM: Final = Message(role="system", content="system-text-of-a-probe")
_USER: Final = Message(role="user", content="user-text-of-a-probe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """What a template does not take."""

    takes_system: bool = True
    takes_neighbours: bool = True
    """Two turns of one role in a row."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done about it, a sentence each."""
        found = []
        if not self.takes_system:
            found.append(
                "the template takes no system message: system text goes in front of the next "
                "turn of the user"
            )
        if not self.takes_neighbours:
            found.append("the template wants roles to alternate: neighbours of one role are joined")
        return tuple(found)

    def adapted(self, conversation: Conversation) -> Conversation:
        """A conversation in the form that the template takes."""
        if not self.takes_system:
            conversation = with_system_in_user_turns(conversation)
        if not (self.takes_system and self.takes_neighbours):
            conversation = with_neighbours_joined(conversation)
        return conversation


async def probe(render: Render) -> Strictness:
    """What a template takes, found out with three short conversations.

    A template that cannot even render a single turn of the user counts as taking all: whoever
    renders it gets its error.
    """
    if not await _keeps(render, _USER):
        return Strictness()
    return Strictness(
        takes_system=await _keeps(render, _SYSTEM, _USER),
        takes_neighbours=await _keeps(render, _USER, _USER),
    )


async def _keeps(render: Render, *messages: Message) -> bool:
    try:
        text = await render(Conversation(messages=messages))
    except TemplateTooSlow:
        raise  # a busy machine says nothing of the template
    except TemplateFailed:
        return False
    return all(message.content in text for message in messages)


def with_system_in_user_turns(conversation: Conversation) -> Conversation:
    """The same without system messages: their text stands before that of the next user's turn.

    What no turn of the user follows becomes one.
    """
    turns: list[Message] = []
    waiting: list[str] = []
    for message in conversation.messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user" and waiting:
            turns.append(replace(message, content=_joined(*waiting, message.content)))
            waiting = []
        else:
            turns.append(message)
    if any(waiting):
        place = len(turns) - bool(conversation.prefill)
        turns.insert(place, Message(role="user", content=_joined(*waiting)))
    return replace(conversation, messages=tuple(turns))


def with_neighbours_joined(conversation: Conversation) -> Conversation:
    """The same, turns of one role in a row made one; calls of tools and results stay apart."""
    turns: list[Message] = []
    for message in conversation.messages:
        last = turns[-1] if turns else None
        if last is None or not _may_join(last, message):
            turns.append(message)
            continue
        turns[-1] = replace(
            last,
            content=_joined(last.content, message.content),
            thinking=_joined(last.thinking, message.thinking),
        )
    return replace(conversation, messages=tuple(turns))


def _may_join(first: Message, second: Message) -> bool:
    same_role = first.role == second.role and first.role in ("system", "user", "assistant")
    return same_role and not first.tool_calls and not second.tool_calls


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)
