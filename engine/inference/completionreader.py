"""What a runner answers, as events of a completion."""

import time
from collections.abc import Sequence

from olmkit.engine.inference.completionevents import CompletionEvent, Finished, PromptCounts, Text
from olmkit.engine.inference.completionwatch import CompletionWatch
from olmkit.engine.runner.protocol import Completed, EndReason, Piece, PromptProgress, PromptRead
from olmkit.engine.supervision.interface import CompletionReply
from olmkit.registry.errors import Cancelled


class CompletionReader:
    """Takes the replies to one completion, and tells its watch of them."""

    def __init__(
        self, watch: CompletionWatch, *, began_ns: int, load_ns: int, wants_tokens: bool
    ) -> None:
        """`began_ns`: `time.perf_counter_ns()` when the request came in; `load_ns`: from then until
        the model was ready. `wants_tokens`: `Finished` tells those of prompt and answer.
        """
        self._watch = watch
        self._began_ns = began_ns
        self._load_ns = load_ns
        self._wants_tokens = wants_tokens
        self._tokens: list[int] = []
        self.dropped_turns = 0
        """Turns that were left out of the prompt."""

    def events(self, replies: Sequence[CompletionReply]) -> list[CompletionEvent]:
        """What replies that came together amount to. Raises: Cancelled."""
        events: list[CompletionEvent] = []
        texts: list[str] = []
        for reply in replies:
            if isinstance(reply, Piece):
                texts.append(reply.text)
                if self._wants_tokens:
                    self._tokens += reply.tokens
                if reply.text or reply.logprobs:
                    logprobs, tokens = tuple(reply.logprobs), len(reply.tokens)
                    events.append(Text(text=reply.text, logprobs=logprobs, tokens=tokens))
            else:
                events += self._others(reply)
        if texts:
            self._watch.tokens(texts)
        return events

    def _others(self, reply: PromptProgress | PromptRead | Completed) -> list[CompletionEvent]:
        """What a reply amounts to that does not come at every token."""
        match reply:
            case PromptRead(prompt_tokens=prompt, cached_tokens=cached):
                self._tokens = list(reply.tokens)
                return [PromptCounts(prompt_tokens=prompt, cached_tokens=cached)]
            case Completed(reason=EndReason.CANCELLED):
                raise Cancelled("request canceled")
            case Completed():
                finished = self._finished(reply)
                return [Text(text=reply.text), finished] if reply.text else [finished]
            case PromptProgress(processed_tokens=processed, total_tokens=total):
                self._watch.reading(processed, total)
                return []

    def _finished(self, end: Completed) -> Finished:
        return Finished(
            reason=end.reason,
            stop_string=end.stop_string,
            total_ns=time.perf_counter_ns() - self._began_ns,
            load_ns=self._load_ns,
            prompt_tokens=end.prompt_tokens,
            cached_tokens=end.cached_tokens,
            prompt_ns=end.prompt_ns,
            completion_tokens=end.completion_tokens,
            completion_ns=end.completion_ns,
            tokens=tuple(self._tokens),
            dropped_turns=self.dropped_turns,
            dropped_tokens=end.dropped_tokens,
            shifted_tokens=end.shifted_tokens,
            room_wait_ns=end.room_wait_ns,
        )
