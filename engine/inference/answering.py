"""One answer, whatever API asked for it: a completion taken apart into text, thoughts and calls.

Where a thought has a budget, or the answer is bound to a form and the thought before it free, two
completions make one answer: the first ends with the thought, the second goes on behind it. The
prompt's cache makes the second as cheap as going on.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import msgspec

from olmkit.engine.chat.conversation import Tool, ToolChoice, ToolChoiceMode
from olmkit.engine.chat.output.deltas import AnswerDelta, OutputEvent, ThoughtDelta
from olmkit.engine.chat.output.formats import PLAIN, OutputFormat
from olmkit.engine.chat.output.grammar import calls_constraint
from olmkit.engine.chat.output.stage import OutputStage
from olmkit.engine.inference.inference import (
    CompletionRequest,
    Finished,
    History,
    PromptCounts,
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
    thinking_budget: int | None = None
    """Most tokens of the thought; then it is closed and the answer begins. None: no limit."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a piece of the model's text amounts to; may be nothing but log-probabilities.

    The first one of an answer only tells how long the prompt was.
    """

    events: Sequence[OutputEvent] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: PromptCounts | None = None


Outputs = AsyncGenerator[Sequence[Output | Finished], None]
"""What an answer consists of, at a time what came together."""


async def answer(services: Services, wanted: AnswerRequest) -> Outputs:
    """The parts of an answer as they come, then `Finished`; at a time those that came together.

    Raises:
        EngineError: as `complete`; InvalidRequest for a tool choice that cannot be kept.
    """
    with watch_of(services, wanted.completion) as watch:
        making = _Answer(wanted)
        upcoming: CompletionRequest | None = await making.first()
        while upcoming is not None:
            request, upcoming = upcoming, None
            # No generator between this one and the completion: each would take part in every token.
            async with aclosing(compute(services, request, watch)) as batches:
                async for events in batches:
                    outputs: list[Output | Finished] = []
                    for event in events:
                        if not isinstance(event, Finished):
                            if (output := making.take(event)) is not None:
                                outputs.append(output)
                            continue
                        output, end, upcoming = making.conclude(event)
                        if output is not None:
                            outputs.append(output)
                        if end is not None:
                            watch.finished(end)
                            outputs.append(end)
                    if outputs:
                        yield outputs


class _Answer:
    """One answer in the making."""

    def __init__(self, wanted: AnswerRequest) -> None:
        self._wanted = wanted
        self._format = wanted.output_format
        self._offers_calls = bool(wanted.tools) and (
            wanted.tool_choice.mode is not ToolChoiceMode.NONE
        )
        self._prompt = ""
        self._begun = ""
        """What was put behind the prompt, and a thought behind which another completion goes on."""
        self._stage: OutputStage | None = None
        self._is_new = True
        """The stage has not seen yet what the prompt was begun with."""
        self._has_told_prompt = False
        self._is_thinking = False
        """The last thing that came out of the stage was a thought."""
        self._thought_tokens = 0
        self._is_apart = False
        """The completion at hand is a thought, behind which another one goes on."""
        self._thought: Finished | None = None
        """How that completion ended."""
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

    async def first(self) -> CompletionRequest:
        """The completion to begin with."""
        if self._thinks_first:
            self._is_apart = True
            return await self._thinking()
        if self._completion.constraint is not None and not self._calls_only:
            self._begun = self._format.answer_start
        return self._completion

    def take(self, event: Text | PromptCounts) -> Output | None:
        """What there is to tell of an event of the completion at hand."""
        if isinstance(event, PromptCounts):
            if self._has_told_prompt:
                return None
            self._has_told_prompt = True
            return Output(prompt=event)
        events = self._beginning() if self._is_new else []
        events += self._feed(event.text)
        if events:
            self._is_thinking = isinstance(events[-1], ThoughtDelta)
        if self._is_thinking:  # as long as nothing else has come out of its tokens
            self._thought_tokens += event.tokens
        if not events and not event.logprobs:
            return None
        return Output(events=events, logprobs=event.logprobs)

    def conclude(
        self, end: Finished
    ) -> tuple[Output | None, Finished | None, CompletionRequest | None]:
        """What is left to tell when the completion at hand has ended, the answer's end, and the
        completion that goes on; either of these is None.
        """
        events = self._beginning() if self._is_new else []
        end = replace(end, thought_tokens=self._thought_tokens)
        if self._is_apart:
            is_closed, rest = self._after(end)
            if is_closed:
                self._thought = end
                events += self._feed(self._closing)
                self._is_apart = False
                return Output(events=events), None, replace(self._completion, options=rest)
        events += self._end(end)
        whole = _sum(self._thought, end) if self._thought is not None else end
        return Output(events=events) if events else None, whole, None

    @property
    def _thinks_first(self) -> bool:
        """A thought comes first that ends by rules of its own."""
        has_budget = self._wanted.thinking_budget is not None
        is_bound = self._completion.constraint is not None
        return (
            (has_budget or is_bound) and self._wanted.completion.thinks and self._format.can_think
        )

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
        if self._is_apart:
            self._begun += text
        if self._stage is None:
            return [AnswerDelta(text=text)] if text else []
        return self._stage.feed(text)

    def _end(self, finished: Finished) -> list[OutputEvent]:
        if self._stage is None:
            return []
        return self._stage.finish(is_cut=finished.reason is not EndReason.STOP)

    async def _thinking(self) -> CompletionRequest:
        """The thought, up to its closing text or the end of its budget."""
        await self._render()  # its end says how the thought will end
        budget, options = self._wanted.thinking_budget, self._completion.options
        stops = (*options.stop, self._format.thought_stop(self._prompt))
        limits = [n for n in (budget, options.max_tokens) if n is not None and n >= 0]
        values: dict[str, OptionValue] = {"stop": stops, "num_predict": min(limits, default=-1)}
        return replace(self._completion, options=options.with_values(values), constraint=None)

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

    def _beginning(self) -> list[OutputEvent]:
        """What the prompt was begun with, of which the stage learns first."""
        self._is_new = False
        return self._stage.feed(self._begun) if self._stage is not None else []


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
