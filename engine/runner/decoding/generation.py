"""Continuous batching: every step decodes one token of each generating request and, in what is
left of the batch, chunks of the prompts that are still being read.

**The pool.** All requests share one KV pool of `pool_tokens` tokens, and each may use up to
`limit_tokens` of it, which may be all. Requests wait in the order of arrival for a slot and for
room for their prompt. When running requests grow over the pool, the one that came last waits: it
gives up its slot, goes back to the front of the queue with all its tokens, and goes on once there
is room. So the oldest always goes on, nobody's answer is cut short by a neighbour, and a request
ends with LENGTH only when its own tokens fill the context.

Knows the protocol's messages and the bindings; nothing of frames and sockets.
"""

import time
from collections import deque
from typing import Final

from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import Context, LogLevel, Model
from olmkit.engine.runner.decoding.adaptersets import AdapterSets
from olmkit.engine.runner.decoding.batching import Batcher, PromptPace
from olmkit.engine.runner.decoding.drawing.drawing import DrawingPool
from olmkit.engine.runner.decoding.governor import ThreadGovernor
from olmkit.engine.runner.decoding.intake import Intake
from olmkit.engine.runner.decoding.logprobs import token_logprobs
from olmkit.engine.runner.decoding.poolroom import PoolRoom, begin_wait, end_wait
from olmkit.engine.runner.decoding.preparations import Preparations
from olmkit.engine.runner.decoding.sampling import SamplerMaker
from olmkit.engine.runner.decoding.sequences import Sequence, find_leader
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.promptcache.parked import LEAST_TOKENS, ParkedStates, Reach
from olmkit.engine.runner.promptcache.slots import Slot, SlotPool
from olmkit.engine.runner.promptcache.stored import StoredStates
from olmkit.engine.runner.promptcache.streamslots import StreamSlots
from olmkit.engine.runner.protocol import (
    Completed,
    Completion,
    EndReason,
    FailureKind,
    Piece,
    PromptProgress,
    Reply,
)
from olmkit.engine.runner.speculation.drafter import Drafter
from olmkit.engine.runner.speculation.drafting import Drafting

REPEAT_LIMIT_TOKENS: Final = 256
"""The same token so many times in a row ends a completion: no text does that, stuck models do.

Rules of dashes and runs of blanks are far shorter, for their tokens hold many characters.
"""

_NO_ROOM: Final = 1
"""llama_decode's status when the KV cache has no cells for the batch."""


class Generator:
    """All completions of one loaded model."""

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        limit_tokens: int,
        pool_tokens: int,
        drawing: DrawingPool,
        governor: ThreadGovernor | None = None,
        prompt_cache_bytes: int = 0,
        stored: StoredStates | None = None,
        drafter: Drafter | None = None,
        adapters: AdapterSets | None = None,
    ) -> None:
        """`governor` None: the number of threads stays what the context was made with.

        `prompt_cache_bytes`, `stored`: memory and disk for what idle prompts hold. `drafter`
        guesses what no text before says.
        """
        self._governor = governor
        self._model = model
        self._context = context
        self._reach = Reach(
            window_tokens=model.window_tokens, is_recurrent=model.has_recurrent_state
        )
        self._drawing = drawing
        self._pace = PromptPace()
        computing_ns = self._pace.expected_ns
        parked = ParkedStates(context, self._reach, computing_ns, prompt_cache_bytes, stored)
        kind = StreamSlots if context.options.streams else SlotPool
        self._slots = kind(context, self._reach, parked, capacity_tokens=pool_tokens)
        self._room = PoolRoom(self._slots, pool_tokens=pool_tokens)
        self._intake = Intake(model, limit_tokens=limit_tokens, adapters=adapters)
        self._adapters = adapters
        self._batcher = Batcher(context, self._slots, self._reach, self._pace)
        self._batch_tokens = context.batch_tokens
        self._preparing = Preparations(model)
        self._samplers = SamplerMaker(model)
        self._drafting = Drafting(spare_outputs=context.spare_outputs, drafter=drafter)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self.steps = 0

    @property
    def running_requests(self) -> int:
        """Requests in a slot."""
        return len(self._running)

    @property
    def waiting_requests(self) -> int:
        """Requests in the queue."""
        return len(self._waiting) + len(self._preparing)

    @property
    def short_requests(self) -> int:
        """Requests in the queue because the pool has no room for the first of them."""
        is_short = self._waiting and self._waiting[0].short_since_ns
        return len(self._waiting) if is_short else 0

    @property
    def held_tokens(self) -> int:
        """Tokens in the KV pool."""
        return self._slots.held_tokens

    @property
    def _sequences(self) -> list[Sequence]:
        return [*self._running, *self._waiting, *self._preparing.sequences]

    def save_prompts(self, *, until_s: float) -> None:
        """Writes what prompts left behind to disk, until a moment of `time.monotonic`."""
        self._slots.save(until_s=until_s)

    def rest(self) -> None:
        """Does ahead, while there is nothing else to do, what the next request would wait for."""
        self._slots.copy_ahead()

    def submit(self, request: Completion) -> None:
        """Queues a completion.

        Raises:
            RequestFailed: its options or its prompt are wrong, or the prompt is too long.
        """
        sequence = self._intake.sequence(request, self._sequences)
        if request.constraint is None:
            self._waiting.append(sequence)
        else:
            self._preparing.add(sequence, request.constraint)

    def cancel(self, request_id: int) -> list[Reply]:
        """Ends a request, wherever it is; nothing for an unknown id."""
        for sequence in self._sequences:
            if sequence.id == request_id:
                return [self._complete(sequence, EndReason.CANCELLED)]
        return []

    def step(self) -> list[Reply]:
        """Decodes one batch, if there is work, and returns all replies that come of it."""
        was_idle = not self._running
        is_at_rest = not self._running and not self._waiting
        ready, replies = self._preparing.take(may_wait=is_at_rest)
        self._waiting += ready
        replies += self._admit()
        if not self._running:
            return replies
        threads: int | None = None
        if governor := self._governor:
            threads = governor.most
            if not self._runs_alone:
                threads = governor.wake(self._expected_ns) if was_idle else governor.refresh()
            self._context.use_threads(threads)
        self._suspend_youngest_over_pool()
        started_ns = time.monotonic_ns()
        active = self._take_turn()
        room_tokens = self._room.left_tokens(self._running)
        room_tokens = min(room_tokens, self._batch_tokens - len(active))
        self._drafting.guess(active, room_tokens=room_tokens, threads=threads)
        stepped_ns = time.monotonic_ns()
        limit_tokens = self._batch_tokens
        prompt_tokens = self._batcher.fill(active, limit_tokens=limit_tokens, now_ns=started_ns)
        self._slots.make_room(self._batcher.batch.count)
        status = self._context.decode(self._batcher.batch)
        self._slots.end_step()
        self.steps += 1
        if status != 0:
            return replies + self._recover(status)
        self._drafting.follow(self._context, active)
        self._batch_tokens = self._context.batch_tokens
        is_plain = not prompt_tokens and not any(one.draft for one in active)
        if self._governor and is_plain and not self._runs_alone:
            elapsed_ns = time.monotonic_ns() - stepped_ns
            self._context.use_threads(self._governor.record(self._batcher.batch.count, elapsed_ns))
        self._drawing.draw(self._context, self._running)
        advancing = [one for one in self._running if one.chunk]
        said = -sum(one.generated_tokens for one in advancing)
        for sequence in advancing:
            replies += self._advance(sequence)
        ended_ns = time.monotonic_ns()
        others = self._batcher.batch.count - prompt_tokens
        self._pace.record(prompt_tokens, ended_ns - stepped_ns, others=others)
        said += sum(one.generated_tokens for one in advancing)
        self._drafting.record_step(ended_ns - started_ns, said)
        return replies

    # --- before a step -----------------------------------------------------------------------

    @property
    def _runs_alone(self) -> bool:
        """The one that runs must not be disturbed."""
        return any(sequence.request.reproducible for sequence in self._running)

    @property
    def _expected_ns(self) -> float:
        """How long the next step will take, as far as prompts make it long."""
        missing = sum(one.missing_tokens for one in self._running)
        return self._pace.expected_ns(min(missing, self._batch_tokens)) or 0

    def _admit(self) -> list[Reply]:
        """Lets waiting requests in, in order, while there are slots and room."""
        replies: list[Reply] = []
        while self._waiting and self._slots.has_free_slot and not self._runs_alone:
            sequence = self._waiting[0]
            if sequence.request.reproducible and self._running:
                break
            can_share = not sequence.request.reproducible and not self._reach.is_recurrent
            alike = [one for one in self._running if can_share and one.variant == sequence.variant]
            leader, common = find_leader(alike, sequence.tokens)
            if not self._room.admits(sequence, self._running, common=common):
                begin_wait(self._waiting)
                break
            self._waiting.popleft()
            end_wait(sequence)
            self._running.append(sequence)
            try:
                self._enter(sequence, leader, common)
            except Exception as error:
                replies.append(self._fail_unforeseen(sequence, "admission", error))
        return replies

    def _enter(self, sequence: Sequence, leader: Sequence | None, common: int) -> None:
        """Gives a request a slot and, the first time, its sampler."""
        is_alone = sequence.request.reproducible
        acquire = self._slots.acquire_alone if is_alone else self._slots.acquire
        sequence.slot = acquire(sequence.tokens, sequence.variant)
        self._follow(sequence, leader, common)
        if sequence.sampler is None:
            sequence.cached_tokens = sequence.slot.length
            sequence.sampler = self._samplers.sampler(
                sequence.request, sequence.tokens, sequence.limit_tokens
            )

    def _follow(self, sequence: Sequence, leader: Sequence | None, common: int) -> None:
        """Lets a request wait for another that will have much more of its beginning than it has."""
        assert sequence.slot is not None
        is_ahead = common >= sequence.slot.length + LEAST_TOKENS
        sequence.leader, sequence.common_tokens = (leader, common) if is_ahead else (None, 0)

    def _suspend_youngest_over_pool(self) -> None:
        while self._room.left_tokens(self._running) < 0:
            self._suspend_youngest()

    def _suspend_youngest(self) -> None:
        """Sends the running request that came last back to the front of the queue.

        The queue is left in order, so the running ones are always in the order of arrival.
        """
        sequence = self._running[-1]
        self._leave(sequence)
        self._waiting.appendleft(sequence)
        begin_wait([sequence])

    def _take_turn(self) -> list[Sequence]:
        """The running requests that this step is for: those with one set of adapters."""
        for sequence in self._running:
            sequence.chunk, sequence.output_index = 0, -1
        if self._adapters is None:
            return self._running
        variant = self._adapters.take_turn([one.variant for one in self._running])
        return [one for one in self._running if one.variant == variant]

    # --- after a step ------------------------------------------------------------------------

    def _recover(self, status: int) -> list[Reply]:
        """After a batch that was not decoded: makes room and tries again, or gives it up."""
        count = self._batcher.batch.count
        log.write(LogLevel.WARN, f"a step of {count} tokens failed: status {status}")
        if status == _NO_ROOM:
            if self._slots.forget_oldest():
                return []
            if len(self._running) > 1:
                self._suspend_youngest()
                return []
            if count > 1:
                self._batch_tokens = count // 2
                return []
        error = RequestFailed(FailureKind.INTERNAL, f"decoding failed with status {status}")
        return [self._fail(one, error) for one in [one for one in self._running if one.chunk]]

    def _advance(self, sequence: Sequence) -> list[Reply]:
        """Takes in what the step did for one request."""
        assert sequence.slot is not None
        sequence.slot.length += sequence.chunk - len(sequence.draft)
        if sequence.output_index < 0:
            if sequence.generated_tokens:
                return []
            done = sequence.slot.length
            if done == sequence.prompt_tokens - 1 and self._batcher.ends_apart(sequence):
                self._slots.keep_beginning(sequence.slot)
            total = sequence.prompt_tokens
            return [PromptProgress(id=sequence.id, processed_tokens=done, total_tokens=total)]
        replies: list[Reply] = []
        if not sequence.prompt_ended_ns:
            sequence.prompt_ended_ns = time.monotonic_ns()
            replies = [sequence.prompt_read()]
        try:
            if sequence.draft:
                return replies + self._check_draft(sequence, sequence.slot)
            return replies + self._sample(sequence)
        except RequestFailed as error:
            return [self._fail(sequence, error)]
        except Exception as error:
            return [self._fail_unforeseen(sequence, "sampling", error)]

    def _check_draft(self, sequence: Sequence, slot: Slot) -> list[Reply]:
        """Samples behind the last token, and behind those of the draft as long as it is right."""
        replies: list[Reply] = []
        draft, first = sequence.draft, sequence.output_index
        accepted = 0
        sequence.drafted_tokens += len(draft)
        while True:
            sequence.output_index = first + accepted
            replies += self._sample(sequence)
            is_over = sequence.slot is None or accepted == len(draft)
            if is_over or sequence.tokens[-1] != draft[accepted]:
                break
            accepted += 1
            sequence.accepted_tokens += 1
            slot.length += 1
        self._slots.drop_behind(slot)
        self._drafting.record(sequence, accepted)
        return replies

    def _sample(self, sequence: Sequence) -> list[Reply]:
        """Samples the next token of a request, and ends the request where that ends it."""
        request = sequence.request
        if request.max_tokens == 0:
            return [self._complete(sequence, EndReason.LENGTH)]
        token = self._drawing.token(self._context, sequence)
        sequence.repeats = sequence.repeats + 1 if token == sequence.tokens[-1] else 1
        sequence.tokens.append(token)
        sequence.generated_tokens += 1
        if self._model.is_end_of_generation(token) and not request.ignore_eos:
            return [*self._rest(sequence), self._complete(sequence, EndReason.STOP)]
        added = sequence.detokenizer.push(token)
        text, stop = sequence.stops.push(added)
        stop = stop or sequence.stop_tokens.get(token)
        logprob = None
        if request.top_logprobs is not None:
            top, index = request.top_logprobs, sequence.output_index
            logprob = token_logprobs(self._model, self._context, index, token, top)
        sequence.settled.push(token, added, logprob)
        tokens, logprobs = sequence.settled.take(text, is_cut=stop is not None)
        piece = Piece(id=sequence.id, text=text, tokens=tokens, logprobs=logprobs)
        is_whole = sequence.guide is not None and sequence.guide.is_complete
        is_over = is_whole or stop is not None
        reason = EndReason.STOP if is_over else self._limit_reached(sequence)
        if reason is None:
            return [piece]
        return [piece, *self._rest(sequence), self._complete(sequence, reason, stop)]

    def _rest(self, sequence: Sequence) -> list[Reply]:
        """The tokens whose text `Completed` brings."""
        tokens, logprobs = sequence.settled.take_rest()
        rest = Piece(id=sequence.id, text="", tokens=tokens, logprobs=logprobs)
        return [rest] if tokens else []

    def _limit_reached(self, sequence: Sequence) -> EndReason | None:
        request = sequence.request
        if sequence.generated_tokens >= sequence.most_tokens:
            return EndReason.LENGTH
        if len(sequence.tokens) >= sequence.limit_tokens:
            if not request.room.shift:
                return EndReason.LENGTH
            if request.max_tokens < 0 and sequence.is_going_round and not request.ignore_eos:
                return EndReason.REPEAT_LIMIT
            assert sequence.slot is not None
            count = sequence.forget_half()
            self._slots.remove_span(sequence.slot, sequence.kept_tokens, count)
        if sequence.repeats >= REPEAT_LIMIT_TOKENS and not request.ignore_eos:
            return EndReason.REPEAT_LIMIT
        return None

    # --- the end of a request ----------------------------------------------------------------

    def _complete(
        self, sequence: Sequence, reason: EndReason, stop: str | None = None
    ) -> Completed:
        self._remove(sequence)
        return sequence.completed(reason, stop, now_ns=time.monotonic_ns())

    def _fail(self, sequence: Sequence, error: RequestFailed) -> Reply:
        """Ends a request after which its part of the pool cannot be trusted."""
        slot = sequence.slot
        self._remove(sequence)
        if slot is not None:
            self._slots.forget(slot)
        return error.reply(sequence.id)

    def _fail_unforeseen(self, sequence: Sequence, what: str, error: Exception) -> Reply:
        """Ends a request for an error of our own; the others go on."""
        log.write_exception(what, error)
        message = f"{what} failed: {type(error).__name__}"
        return self._fail(sequence, RequestFailed(FailureKind.INTERNAL, message))

    def _remove(self, sequence: Sequence) -> None:
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        elif sequence in self._running:
            self._leave(sequence)
        else:
            self._preparing.remove(sequence)
        if sequence.sampler is not None:
            sequence.sampler.close()

    def _leave(self, sequence: Sequence) -> None:
        """Takes a running request out of its slot."""
        self._running.remove(sequence)
        sequence.leader = None
        if sequence.slot is not None:
            for follower in [one for one in self._running if one.leader is sequence]:
                self._batcher.take_over(follower, sequence)
                # The first of those that waited goes on with the rest, for the others as well.
                earlier = [
                    one
                    for one in self._running[: self._running.index(follower)]
                    if one.variant == follower.variant
                ]
                self._follow(follower, *find_leader(earlier, follower.tokens))
            if sequence.shifted_tokens:
                # What is behind the cut was computed with what is gone now in view.
                self._slots.cut(sequence.slot, sequence.kept_tokens)
            self._slots.release(sequence.slot, self.steps)
            sequence.slot = None
