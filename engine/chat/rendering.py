"""Conversations to prompts, through whichever template the model has.

Templates run in the worker process; here it is decided which one runs, on what, and what becomes
of a begun answer. The rules are in docs/prompts.md.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from olmkit.engine.chat.adapting import Strictness, probe
from olmkit.engine.chat.conversation import Conversation, Message, Prompt, Think
from olmkit.engine.chat.templates.choice import Choice, TemplateKind, choose
from olmkit.engine.chat.templates.renderprocess import TemplateProcess
from olmkit.engine.chat.templates.renderprotocol import InsertGo, RenderGo, RenderJinja
from olmkit.engine.errors import TemplateFailed, TemplateRefused
from olmkit.engine.models.capabilities import TemplateFacts
from olmkit.engine.models.spec import ModelSpec
from olmkit.modelfile.instructions import is_jinja

MAX_TEMPLATES: Final = 64
"""Templates of which it is remembered what they take."""


class Renderer:
    """Renders prompts. Used from the event loop. `prefers_go` is `choose`'s."""

    def __init__(self, process: TemplateProcess, *, prefers_go: bool | None = None) -> None:
        self._process = process
        self._prefers_go = prefers_go
        self._strictness: dict[str, Strictness] = {}
        """Of Jinja templates that were used, by their text."""

    def choose(self, spec: ModelSpec, go_facts: TemplateFacts | None) -> Choice:
        """The template that renders a model's prompts."""
        return choose(spec, go_facts, prefers_go=self._prefers_go)

    async def render(
        self,
        spec: ModelSpec,
        conversation: Conversation,
        *,
        go_facts: TemplateFacts | None = None,
        request_template: str | None = None,
    ) -> Prompt:
        """The prompt that makes the model answer a conversation.

        `request_template`: a Go template in place of the model's own.

        Raises:
            TemplateFailed: the template is broken, refuses the conversation, or goes over a limit.
        """
        go_conversation = (
            conversation.without_old_thoughts() if _forgets_thoughts(spec) else conversation
        )
        if request_template is not None and is_jinja(request_template):
            text = await self._render_jinja(spec, request_template, conversation)
            return Prompt(text=text, template="jinja", reason="the request brings one")
        if request_template is not None:
            text = await self._render_go(spec, request_template, go_conversation)
            return Prompt(text=text, template="go", reason="the request brings one")
        choice = self.choose(spec, go_facts)
        match choice.kind:
            case TemplateKind.JINJA:
                text = await self._render_jinja(
                    spec, _template_for(spec, choice, conversation), conversation
                )
            case TemplateKind.GO:
                text = await self._render_go(spec, choice.template, go_conversation)
            case _:
                text = plain_text(conversation)
        return Prompt(text=text, template=choice.kind, reason=choice.reason)

    async def render_insert(
        self, spec: ModelSpec, *, prompt: str, suffix: str, template: str | None = None
    ) -> str:
        """The prompt that makes the model write what belongs between two texts.

        Raises:
            TemplateFailed: the model has no template for that, or it fails.
        """
        template = template or spec.go_template
        if template is None:
            raise TemplateFailed(f"{spec.name} has no template that takes a suffix")
        job = InsertGo(template=template, prompt=prompt, suffix=suffix)
        return await self._process.run(job, owner=spec.model_key)

    async def inspect(self, template: str) -> TemplateFacts:
        """What a Go template takes account of; nothing when it does not parse."""
        try:
            found = await self._process.inspect(template)
        except TemplateFailed:
            return TemplateFacts()  # whoever renders it gets the error
        return TemplateFacts(
            tools=found.tools,
            insert=found.insert,
            thinking=found.thinking,
            tool_round_trip=found.tool_round_trip,
        )

    async def check(self, template: str) -> None:
        """Parse a template of either language. Raises: TemplateFailed."""
        if not is_jinja(template):
            await self._process.inspect(template)
            return
        conversation = Conversation(messages=(Message(role="user", content="Hello"),))
        with suppress(TemplateRefused):
            await self._process.run(
                RenderJinja(template=template, variables=jinja_variables({}, conversation))
            )

    async def _render_go(self, spec: ModelSpec, template: str, conversation: Conversation) -> str:
        return await self._process.run(
            RenderGo(
                template=template,
                messages=conversation.messages,
                tools=conversation.tools,
                think=conversation.think,
            ),
            owner=spec.model_key,
        )

    async def _render_jinja(
        self, spec: ModelSpec, template: str, conversation: Conversation
    ) -> str:
        if _is_ordinary(conversation):
            return await self._jinja_text(spec, template, conversation)
        strictness = await self._strictness_of(spec, template)
        return await self._jinja_text(spec, template, strictness.adapted(conversation))

    async def strictness(self, spec: ModelSpec, go_facts: TemplateFacts | None) -> Strictness:
        """What the template of a model's prompts does not take. Raises: TemplateFailed."""
        choice = self.choose(spec, go_facts)
        if choice.kind is not TemplateKind.JINJA:
            return Strictness()
        return await self._strictness_of(spec, choice.template)

    async def _strictness_of(self, spec: ModelSpec, template: str) -> Strictness:
        if template not in self._strictness:

            async def render(conversation: Conversation) -> str:
                return await self._jinja_text(spec, template, conversation)

            while len(self._strictness) >= MAX_TEMPLATES:
                self._strictness.pop(next(iter(self._strictness)))
            self._strictness[template] = await probe(render)
        return self._strictness[template]

    async def _jinja_text(self, spec: ModelSpec, template: str, conversation: Conversation) -> str:
        job = RenderJinja(
            template=template, variables=jinja_variables(spec.special_tokens, conversation)
        )
        # A begun answer goes behind what the template writes to begin one: so it works with
        # every template, also those that close each turn they render.
        return await self._process.run(job, owner=spec.model_key) + conversation.prefill


def _template_for(spec: ModelSpec, choice: Choice, conversation: Conversation) -> str:
    """The template chosen, or the file's other one for conversations with tools."""
    is_own = choice.template == spec.gguf.chat_template
    tool_template = spec.gguf.tool_template if conversation.tools and is_own else None
    return tool_template or choice.template


def _is_ordinary(conversation: Conversation) -> bool:
    """Whether every template takes it: turns of the user and the assistant that alternate."""
    roles = [message.role for message in conversation.messages]
    return roles == [("user", "assistant")[place % 2] for place in range(len(roles))]


def _forgets_thoughts(spec: ModelSpec) -> bool:
    """Whether Go templates of the model rely on old thoughts being taken out for them.

    Jinja templates do it themselves.
    Source: https://github.com/ollama/ollama/blob/v0.17.4/server/routes.go, `filterThinkTags`
    """
    return spec.gguf.architecture == "qwen3" or "/deepseek-r1:" in f"/{spec.name}"


def jinja_variables(
    special_tokens: Mapping[str, str], conversation: Conversation
) -> dict[str, Any]:
    """What a Jinja chat template sees, as transformers gives it.

    Source: transformers, tokenization_utils_base.py, `apply_chat_template`.
    """
    return {
        **special_tokens,
        "messages": [_jinja_message(message) for message in conversation.asked],
        "tools": [dict(tool.given) for tool in conversation.tools] or None,
        "documents": None,
        "add_generation_prompt": True,
        **_thinking_variables(conversation.think),
    }


def _jinja_message(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        turn |= {"reasoning_content": message.thinking, "thinking": message.thinking}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                **({"id": call.id} if call.id else {}),
                "type": "function",
                "function": {"name": call.name, "arguments": dict(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_name:
        turn |= {"name": message.tool_name, "tool_name": message.tool_name}
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _thinking_variables(think: Think) -> dict[str, Any]:
    if think is None:
        return {}
    variables: dict[str, Any] = {"enable_thinking": bool(think), "thinking": bool(think)}
    if isinstance(think, str):
        variables["reasoning_effort"] = think
    return variables


def plain_text(conversation: Conversation) -> str:
    """The turns of a conversation without a template: their texts, a blank line after the system
    prompt, a line break between others.

    One user turn alone gives its text unchanged, which is what a base model goes on with.
    """
    text = ""
    for message in conversation.messages:
        if text:
            text += "\n"
        text += message.content + ("\n" if message.role == "system" else "")
    return text


def without_bos(text: str, bos_token: str, *, adds_bos: bool) -> str:
    """A prompt for a model whose tokenizer adds BOS by itself: one that is written goes away."""
    return text.removeprefix(bos_token) if adds_bos and bos_token else text
