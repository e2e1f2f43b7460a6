"""The runner's one loop: frames in, a step, frames out.

Everything happens in one thread, which owns llama.cpp: a second busy thread would halve the pace,
for both take turns with Python's lock. While there is work frames are read between steps without
blocking; else the loop sleeps until one comes. A cancelled request is gone by the next step.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from olmkit.engine.framing import ProtocolViolation
from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import LogLevel, Model
from olmkit.engine.runner.decoding.generation import Generator
from olmkit.engine.runner.decoding.text.detokenizer import detokenize
from olmkit.engine.runner.decoding.tokenizing import LONG_CHARACTERS, Tokenizing, TokenizingThread
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.process.confined import Confiner
from olmkit.engine.runner.process.frames import FrameSocket, PeerGone
from olmkit.engine.runner.process.gathering import GatheredPieces
from olmkit.engine.runner.process.loading import Instance, fit, load, load_vocabulary
from olmkit.engine.runner.process.offloading import prove
from olmkit.engine.runner.protocol import (
    Cancel,
    Completion,
    Detokenize,
    Embedded,
    Embedding,
    FailureKind,
    Health,
    Healthy,
    Load,
    LoadOperation,
    LoadProgress,
    Piece,
    PromptRead,
    Ranked,
    Ranking,
    Reply,
    Request,
    Text,
    Tokenize,
    Tokens,
)

_TOKENIZING_WAIT_S: Final = 0.01
"""How long the loop waits for a text without other work, before it looks for new requests."""

_SAVING_S: Final = 0.5
"""From the end of the stream on; the daemon sends SIGTERM after 1 s."""

_PROGRESS_STEP: Final = 0.01
_PROGRESS_PAUSE_NS: Final = 50_000_000


class Loop:
    """Serves one daemon until it is gone."""

    def __init__(self, peer: FrameSocket, confiner: Confiner) -> None:
        self._peer = peer
        self._confiner = confiner
        self._instance: Instance | None = None
        self._vocabulary: Model | None = None
        """The model that tokenizes while there is no instance."""
        self._requests: deque[Request] = deque()
        """Requests that were read and not yet handled."""
        self._gathered = GatheredPieces()
        self._thread = TokenizingThread()
        self._tokenizing: list[tuple[Completion | Tokenize, Tokenizing]] = []
        """Requests whose long text is being tokenized beside the loop."""
        self._read_tokens = self._written_tokens = 0
        """What prompts and answers came to so far."""

    def run(self) -> None:
        """Runs until the daemon closes its end.

        Raises:
            PeerGone: it has.
            ProtocolViolation: it sent what is no frame.
        """
        while True:
            if not self._has_work:
                self._rest()
            if not self._has_work or self._peer.is_congested:
                self._peer.wait()
            self._requests += self._peer.receive()
            if self._requests:  # the step after it may be long
                self._peer.send(self._gathered.take())
            replies = self._take_tokenized()
            while self._requests:
                replies += self._answer(self._requests.popleft())
            if not self._peer.is_congested:
                replies += self._counted(self._step())
            self._peer.send(self._gathered.add(replies, goes_on=self._only_generates))

    def save_prompts(self) -> None:
        """Writes what prompts left behind to disk, in the time that the daemon waits anyway."""
        if self._instance is not None and self._instance.generator is not None:
            self._instance.generator.save_prompts(until_s=time.monotonic() + _SAVING_S)

    @property
    def _has_work(self) -> bool:
        return bool(self._tokenizing) or self._can_step

    @property
    def _only_generates(self) -> bool:
        """The next step follows at once and does nothing but go on with answers."""
        one = self._instance
        if one is None or one.generator is None or self._tokenizing:
            return False
        return one.generator.running_requests > 0 and not one.embedder.waiting_inputs

    @property
    def _can_step(self) -> bool:
        one = self._instance
        if one is None:
            return False
        generator = one.generator
        is_generating = generator is not None and (
            generator.running_requests or generator.waiting_requests
        )
        return bool(is_generating or one.embedder.waiting_inputs)

    def _rest(self) -> None:
        if self._instance is not None and self._instance.generator is not None:
            self._instance.generator.rest()

    def _step(self) -> list[Reply]:
        """One decode step of each kind that has work."""
        replies: list[Reply] = []
        if self._instance is not None:
            if self._instance.generator is not None:
                replies += self._instance.generator.step()
            replies += self._instance.embedder.step()
        return replies

    def _counted(self, replies: list[Reply]) -> list[Reply]:
        """The same replies, once their tokens are counted."""
        for reply in replies:
            match reply:
                case Piece():
                    self._written_tokens += len(reply.tokens)
                case PromptRead():
                    self._read_tokens += reply.prompt_tokens - reply.cached_tokens
                case Embedded() | Ranked():
                    self._read_tokens += reply.prompt_tokens
                case _:
                    pass
        return replies

    # --- long texts --------------------------------------------------------------------------

    def _tokenize_beside(self, request: Completion | Tokenize, text: str) -> None:
        self._tokenizing.append(
            (
                request,
                self._thread.submit(
                    self._tokenizer(),
                    text,
                    add_special=not isinstance(request, Tokenize) or request.add_special,
                    parse_special=not isinstance(request, Tokenize) or request.parse_special,
                ),
            )
        )

    def _take_tokenized(self) -> list[Reply]:
        """Goes on with the requests whose text is tokenized; waits a little without other work."""
        if self._tokenizing and not self._can_step and not self._requests:
            self._tokenizing[0][1].wait(_TOKENIZING_WAIT_S)
        replies: list[Reply] = []
        for request, work in [one for one in self._tokenizing if one[1].is_done]:
            self._tokenizing.remove((request, work))
            replies += self._guarded(request, partial(self._go_on, request, work))
        return replies

    def _go_on(self, request: Completion | Tokenize, work: Tokenizing) -> list[Reply]:
        tokens = work.tokens()
        if isinstance(request, Tokenize):
            return [Tokens(id=request.id, tokens=tokens)]
        self._generator_submit(msgspec.structs.replace(request, prompt=tokens))
        return []

    # --- requests ----------------------------------------------------------------------------

    def _answer(self, request: Request) -> list[Reply]:
        """The replies that can be given at once; an error is this request's failure alone."""
        return self._guarded(request, lambda: self._handle(request))

    def _guarded(self, request: Request, work: Callable[[], list[Reply]]) -> list[Reply]:
        try:
            return work()
        except RequestFailed as error:
            return [error.reply(request.id)]
        except (PeerGone, ProtocolViolation):
            raise
        except Exception as error:
            log.write_exception(type(request).__name__, error)
            message = f"{type(request).__name__.lower()} failed: {type(error).__name__}"
            return [RequestFailed(FailureKind.INTERNAL, message).reply(request.id)]

    def _handle(self, request: Request) -> list[Reply]:
        if isinstance(request, Load):
            self._confiner.before(request)
        match request:
            case Cancel():
                return self._cancel(request.id)
            case Health():
                return [self._health(request.id)]
            case Load(operation=LoadOperation.FIT):
                return [fit(request)]
            case Load(operation=LoadOperation.ALLOC):
                return [prove(request)]
            case Load(operation=LoadOperation.VOCABULARY):
                self._vocabulary, loaded = load_vocabulary(request)
                return [loaded]
            case Load():
                return [self._load(request)]
            case Completion(prompt=str() as prompt) if len(prompt) > LONG_CHARACTERS:
                self._ready_generator()
                self._tokenize_beside(request, prompt)
                return []
            case Completion():
                self._generator_submit(request)
                return []
            case Embedding() | Ranking():
                return self._ready().embedder.submit(request)
            case Tokenize() if len(request.text) > LONG_CHARACTERS:
                self._tokenize_beside(request, request.text)
                return []
            case Tokenize():
                tokens = self._tokenizer().tokenize(
                    request.text,
                    add_special=request.add_special,
                    parse_special=request.parse_special,
                )
                return [Tokens(id=request.id, tokens=tokens)]
            case Detokenize():
                return [self._detokenize(request)]

    def _ready(self) -> Instance:
        if self._instance is None:
            raise RequestFailed(FailureKind.BAD_REQUEST, "no model is loaded")
        return self._instance

    def _tokenizer(self) -> Model:
        if self._instance is None and self._vocabulary is not None:
            return self._vocabulary
        return self._ready().model

    def _generator_submit(self, request: Completion) -> None:
        self._ready_generator().submit(request)

    def _ready_generator(self) -> Generator:
        generator = self._ready().generator
        if generator is None:
            raise RequestFailed(
                FailureKind.UNSUPPORTED, "the model only computes embeddings, it cannot generate"
            )
        return generator

    def _cancel(self, request_id: int) -> list[Reply]:
        for request, work in self._tokenizing:
            if request.id == request_id:
                work.is_cancelled = True
                self._tokenizing.remove((request, work))
                error = RequestFailed(FailureKind.CANCELLED, "the request was cancelled")
                return [error.reply(request_id)]
        if self._instance is None:
            return []
        replies = self._instance.embedder.cancel(request_id)
        if self._instance.generator is not None:
            replies += self._instance.generator.cancel(request_id)
        return replies

    def _detokenize(self, request: Detokenize) -> Reply:
        model = self._tokenizer()
        if not all(0 <= token < model.vocabulary_tokens for token in request.tokens):
            last = model.vocabulary_tokens - 1
            raise RequestFailed(FailureKind.BAD_REQUEST, f"a token is not in 0 to {last}")
        return Text(id=request.id, text=detokenize(model, request.tokens))

    def _health(self, request_id: int) -> Reply:
        running = waiting = held = steps = short = 0
        if self._instance is not None:
            steps = self._instance.embedder.steps
            if (generator := self._instance.generator) is not None:
                running, waiting = generator.running_requests, generator.waiting_requests
                held, steps = generator.held_tokens, steps + generator.steps
                short = generator.short_requests
        return Healthy(
            id=request_id,
            active_sequences=running,
            queued_requests=waiting,
            cached_tokens=held,
            steps=steps,
            prompt_tokens=self._read_tokens,
            completion_tokens=self._written_tokens,
            short_requests=short,
        )

    # --- load --------------------------------------------------------------------------------

    def _load(self, request: Load) -> Reply:
        if self._instance is not None:
            raise RequestFailed(FailureKind.BAD_REQUEST, "a model is loaded already")
        progress = _LoadProgress(self._peer, request.id)
        try:
            self._instance = load(request, progress.report)
        except RequestFailed:
            progress.raise_for_end()
            raise
        finally:
            self._requests += progress.requests
        loaded = self._instance.loaded
        sizes = ", ".join(
            f"{one.device} {(one.weights_bytes + one.kv_bytes + one.compute_bytes) >> 20} MiB"
            for one in loaded.buffers
        )
        log.write(
            LogLevel.INFO,
            f"loaded in {loaded.load_ns // 1_000_000} ms: context {loaded.context_tokens},"
            f" threads {loaded.threads}, {sizes}",
        )
        return loaded


class _LoadProgress:
    """Reports a load to the daemon and listens to it meanwhile, from inside llama.cpp."""

    def __init__(self, peer: FrameSocket, request_id: int) -> None:
        self._peer = peer
        self._request_id = request_id
        self._reported = 0.0
        self._reported_ns = 0
        self._ended: Exception | None = None
        self.requests: list[Request] = []
        """Requests that came in during the load, to be handled after it."""

    def report(self, fraction: float) -> bool:
        """Takes a fraction; False when the load is not wanted any more."""
        now_ns = time.monotonic_ns()
        is_due = now_ns - self._reported_ns >= _PROGRESS_PAUSE_NS
        if not is_due or fraction - self._reported < _PROGRESS_STEP:
            return True
        self._reported, self._reported_ns = fraction, now_ns
        # An exception must not go through llama.cpp's frames: it is kept for `raise_for_end`.
        try:
            self._peer.send([LoadProgress(id=self._request_id, fraction=fraction)])
            for request in self._peer.receive():
                if isinstance(request, Cancel) and request.id == self._request_id:
                    self._ended = RequestFailed(FailureKind.CANCELLED, "the load was cancelled")
                else:
                    self.requests.append(request)
        except Exception as error:
            self._ended = error
        return self._ended is None

    def raise_for_end(self) -> None:
        """Raises what ended the load from outside, if anything did."""
        if self._ended is not None:
            raise self._ended
