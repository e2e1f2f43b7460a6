"""One answer, whatever API asked for it: a completion taken apart into text, thoughts and calls.

Where a thought has a budget, or the answer is bound to a form and the thought before it free, two
completions make one answer: the first ends with the thought, the second goes on behind it. The
prompt's cache makes the second as cheap as going on.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from olmkit.engine.chat.conversation import Tool, ToolChoice, ToolChoiceMode
from olmkit.engine.chat.output.deltas import AnswerDelta, OutputEvent
from olmkit.engine.chat.output.formats import PLAIN, OutputFormat
from olmkit.engine.chat.output.grammar import calls_constraint
from olmkit.engine.chat.output.stage import OutputStage
from olmkit.engine.inference.completionwatch import CompletionWatch
from olmkit.engine.inference.inference import (
    CompletionRequest,
    Finished,
    History,
    Text,
    compute,
    watch_of,
)
from olmkit.engine.jsonschema.rewriting import rewrite
from olmkit.engine.models.options import Options, OptionValue
from olmkit.engine.runner.protocol import EndReason, TokenLogprob
from olmkit.engine.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    """What is wanted of a model, and how its answer is to be read."""

    completion: CompletionRequest
    """Its `constraint` binds the answer, not the thought before it."""
    output_format: OutputFormat = PLAIN
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    thinks: bool = False
    """The model may think before it answers."""
    thinking_budget: int | None = None
    """Most tokens of the thought; then it is closed and the answer begins. None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a piece of the model's text amounts to; may be nothing but log-probabilities."""

    events: tuple[OutputEvent, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


Outputs = AsyncGenerator[Output | Finished, None]


async def answer(services: Services, wanted: AnswerRequest) -> Outputs:
    """The parts of an answer as they come, then `Finished`.

    Raises:
        EngineError: as `complete`; InvalidRequest for a tool choice that cannot be kept.
    """
    with watch_of(services, wanted.completion) as watch:
        async with aclosing(_Answer(services, wanted, watch).run()) as outputs:
            async for output in outputs:
                if isinstance(output, Finished):
                    watch.finished(output)
                yield output


class _Answer:
    """One answer in the making."""

    def __init__(self, services: Services, wanted: AnswerRequest, watch: CompletionWatch) -> None:
        self._services = services
        self._watch = watch
        self._wanted = wanted
        self._format = wanted.output_format
        self._offers_calls = bool(wanted.tools) and (
            wanted.tool_choice.mode is not ToolChoiceMode.NONE
        )
        self._prompt = ""
        self._begun = ""
        """What was put behind the prompt, or written before the completion that goes on."""
        self._stage: OutputStage | None = None
        self._is_new = True
        """The stage has not seen yet what the prompt was begun with."""
        calls = None
        own = wanted.completion.constraint
        is_bound = wanted.tool_choice.is_bound
        is_strict = own is None and any(tool.strict for tool in wanted.tools)
        if self._offers_calls and (is_bound or is_strict):
            tools = [_keepable(tool) for tool in wanted.tools]
            calls = calls_constraint(self._format, tools, wanted.tool_choice)
        if calls is not None:  # what is written otherwise keeps to no schema: it is text
            self._format = replace(self._format, calls=self._format.calls[:1])
        self._calls_only = calls is not None
        self._completion = replace(
            wanted.completion,
            constraint=calls or own,
            render=self._render,
            history=self._with_beginning(wanted.completion.history),
            marks=self._format.marks,
        )

    async def run(self) -> Outputs:
        if self._thinks_first:
            thought: Finished | None = None
            async with aclosing(self._think()) as outputs:
                async for output in outputs:
                    if isinstance(output, Finished):
                        thought = output
                    else:
                        yield output
            assert thought is not None
            is_closed, rest = self._after(thought)
            if not is_closed:
                yield Output(events=tuple(self._end(thought)))
                yield thought
                return
            yield Output(events=tuple(self._feed(self._closing)))
            goes_on = replace(self._completion, options=rest)
            async with aclosing(self._complete(goes_on)) as outputs:
                async for output in outputs:
                    yield _sum(thought, output) if isinstance(output, Finished) else output
            return
        if self._completion.constraint is not None and not self._calls_only:
            self._begun = self._format.answer_start
        async with aclosing(self._complete(self._completion)) as outputs:
            async for output in outputs:
                yield output

    @property
    def _thinks_first(self) -> bool:
        """A thought comes first that ends by rules of its own."""
        has_budget = self._wanted.thinking_budget is not None
        is_bound = self._completion.constraint is not None
        return (has_budget or is_bound) and self._wanted.thinks and self._format.can_think

    @property
    def _closing(self) -> str:
        return self._format.closing(self._prompt, calls=self._calls_only)

    async def _render(self) -> str:
        if not self._prompt:
            self._prompt = await self._wanted.completion.render()
            self._stage = self._new_stage()
            if self._thinks_first:
                self._begun = self._format.opening(self._prompt)
        return self._prompt + self._begun

    def _with_beginning(self, history: History | None) -> History | None:
        """The same history, what the answer has begun with behind each of its prompts."""
        if history is None:
            return None

        async def render_from(turn: int) -> str:
            return await history.render_from(turn) + self._begun

        return replace(history, render_from=render_from)

    def _new_stage(self) -> OutputStage | None:
        if self._format is PLAIN:
            return None
        return OutputStage(
            self._format,
            tools=self._wanted.tools,
            prompt=self._prompt,
            parses_calls=self._offers_calls,
        )

    def _feed(self, text: str) -> list[OutputEvent]:
        self._begun += text
        if self._stage is None:
            return [AnswerDelta(text=text)] if text else []
        return self._stage.feed(text)

    def _end(self, finished: Finished) -> list[OutputEvent]:
        if self._stage is None:
            return []
        return self._stage.finish(is_cut=finished.reason is not EndReason.STOP)

    async def _think(self) -> Outputs:
        """The thought, up to its closing text or the end of its budget."""
        await self._render()  # its end says how the thought will end
        budget, options = self._wanted.thinking_budget, self._completion.options
        stops = (*options.stop, self._format.thought_stop(self._prompt))
        limits = [n for n in (budget, options.max_tokens) if n is not None and n >= 0]
        values: dict[str, OptionValue] = {"stop": stops, "num_predict": min(limits, default=-1)}
        request = replace(self._completion, options=options.with_values(values), constraint=None)
        async with aclosing(self._pieces(request)) as outputs:
            async for output in outputs:
                yield output

    def _after(self, thought: Finished) -> tuple[bool, Options]:
        """Whether the answer follows a thought that ended so, and the options for it."""
        options, budget = self._completion.options, self._wanted.thinking_budget
        left = options.max_tokens - thought.completion_tokens
        is_limited = options.max_tokens >= 0
        is_closed = thought.stop_string is not None and thought.stop_string not in options.stop
        is_spent = (
            thought.reason is EndReason.LENGTH
            and budget is not None
            and thought.completion_tokens >= budget
        )
        # A model that ends its turn within the thought has nothing more to say; an answer that is
        # bound must come all the same.
        is_owed = (
            thought.reason is EndReason.STOP
            and thought.stop_string is None
            and self._completion.constraint is not None
        )
        if not (is_closed or is_spent or is_owed) or (is_limited and left <= 0):
            return False, options
        return True, options.with_values({"num_predict": left}) if is_limited else options

    async def _complete(self, request: CompletionRequest) -> Outputs:
        async with aclosing(self._pieces(request)) as outputs:
            async for output in outputs:
                if isinstance(output, Finished) and (events := self._end(output)):
                    yield Output(events=tuple(events))
                yield output

    async def _pieces(self, request: CompletionRequest) -> Outputs:
        has_begun = False
        async with aclosing(compute(self._services, request, self._watch)) as pieces:
            async for piece in pieces:
                events: list[OutputEvent] = []
                if not has_begun and self._stage is not None and self._is_new:
                    events += self._stage.feed(self._begun)
                    self._is_new = False
                has_begun = True
                if isinstance(piece, Text):
                    events += self._feed(piece.text)
                    if events or piece.logprobs:
                        yield Output(events=tuple(events), logprobs=piece.logprobs)
                    continue
                if events:
                    yield Output(events=tuple(events))
                yield piece


def _keepable(tool: Tool) -> Tool:
    """The tool with a schema that a grammar can keep. Raises: InvalidRequest."""
    schema = rewrite({"type": "object", **tool.parameters})
    return replace(tool, parameters=json.loads(schema.text))


def _sum(thought: Finished, rest: Finished) -> Finished:
    """The numbers of two completions that made one answer."""
    return replace(
        rest,
        load_ns=thought.load_ns,
        prompt_tokens=thought.prompt_tokens,
        cached_tokens=thought.cached_tokens,
        prompt_ns=thought.prompt_ns + rest.prompt_ns,
        completion_tokens=thought.completion_tokens + rest.completion_tokens,
        completion_ns=thought.completion_ns + rest.completion_ns,
        dropped_turns=max(thought.dropped_turns, rest.dropped_turns),
        dropped_tokens=max(thought.dropped_tokens, rest.dropped_tokens),
        shifted_tokens=thought.shifted_tokens + rest.shifted_tokens,
    )
