"""A small program that keeps the runner's protocol without llama.cpp.

For tests of the daemon's side: it starts in 60 ms and does on request what a real runner does
only by accident. Its model file is a JSON object:

    context_tokens, embedding    as a real model has them
    weights_bytes                what the weights take of main memory; 1000 if it is not said
    load_s, token_s              how long the load and one token take
    fail                         a `FailureKind` that the load ends with
    fail_while                   the load fails with OUT_OF_MEMORY while this path exists
    fail_commits                 so many loads (lines of `started_log`) end with OUT_OF_MEMORY,
                                 though dry runs and proofs of memory went well
    stall                        the load makes no progress for ever
    die                          exit status to end with in the midst of the load
    started_log                  a file that gets one line a process

One token is one character; a completion counts `0123456789…`. The prompt `die N` kills the
process with signal N after two tokens, `garbage` sends what is no frame, `deaf` ignores EOF.
"""

import argparse
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from olmkit.engine import framing
from olmkit.engine.runner import protocol as p


class Program:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.active: dict[int, tuple[p.Completion, int]] = {}
        self.context_tokens = 0
        self.trained_tokens = 0
        self.embedding = False
        self.token_s = 0.0
        self.steps = 0
        self.deaf = False

    def run(self) -> None:
        while True:
            timeout_s = self.token_s if self.active else None
            readable, _, _ = select.select([self.channel], [], [], timeout_s)
            if readable and not self.receive():
                if not self.deaf:
                    return
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(3600)
            if self.active:
                self.step()

    def receive(self) -> bool:
        header = self.channel.recv(4, socket.MSG_WAITALL)
        if len(header) < 4:
            return False
        payload = self.channel.recv(framing.payload_length(header), socket.MSG_WAITALL)
        try:
            self.answer(p.decode_request(payload))
        except BrokenPipeError:
            return False
        return True

    def send(self, *replies: p.Reply) -> None:
        self.channel.sendall(framing.encode_frame(p.StepOutput(replies=list(replies))))

    def fail(self, request_id: int, kind: p.FailureKind, message: str, **numbers: Any) -> None:
        self.send(p.Failed(id=request_id, kind=kind, message=message, **numbers))

    def answer(self, request: p.Request) -> None:
        match request:
            case p.Load():
                self.load(request)
            case p.Completion():
                self.begin(request)
            case p.Cancel():
                if request.id in self.active:
                    self.finish(request.id, p.EndReason.CANCELLED)
            case p.Embedding():
                self.embed(request)
            case p.Tokenize():
                self.send(p.Tokens(id=request.id, tokens=[ord(c) for c in request.text]))
            case p.Detokenize():
                text = "".join(chr(token) for token in request.tokens)
                self.send(p.Text(id=request.id, text=text))
            case p.Health():
                self.send(
                    p.Healthy(
                        id=request.id,
                        active_sequences=len(self.active),
                        queued_requests=0,
                        cached_tokens=0,
                        steps=self.steps,
                    )
                )

    def load(self, request: p.Load) -> None:
        started_ns = time.monotonic_ns()
        try:
            model = json.loads(Path(request.files.weights_path).read_bytes())
        except (OSError, ValueError) as error:
            self.fail(request.id, p.FailureKind.BAD_MODEL, f"the model file is broken: {error}")
            return
        if request.operation in (p.LoadOperation.FIT, p.LoadOperation.ALLOC):
            self.send(self.loaded(request, started_ns, model))
            return
        if log := model.get("started_log"):
            with open(log, "a") as file:
                file.write(f"{os.getpid()}\n")
            if len(Path(log).read_text().splitlines()) <= model.get("fail_commits", 0):
                self.fail(request.id, p.FailureKind.OUT_OF_MEMORY, "the card has less than it said")
                return
        for step in range(10):
            self.send(p.LoadProgress(id=request.id, fraction=step / 10))
            self.pass_time(model.get("load_s", 0) / 10)
        if model.get("stall"):
            self.pass_time(3600)
        if "die" in model:
            sys.stderr.write("about to die\n")
            sys.stderr.flush()
            os._exit(model["die"])
        if "fail" in model:
            kind = p.FailureKind(model["fail"])
            self.fail(request.id, kind, f"loading ended with {kind}")
            return
        if "fail_while" in model and Path(model["fail_while"]).exists():
            self.fail(request.id, p.FailureKind.OUT_OF_MEMORY, "no memory left")
            return
        self.embedding = request.options.embedding
        self.token_s = model.get("token_s", 0)
        trained = model.get("context_tokens", 8192)
        self.context_tokens = min(trained, request.options.context_tokens)
        self.trained_tokens = trained
        self.send(self.loaded(request, started_ns, model))

    def loaded(self, request: p.Load, started_ns: int, model: dict[str, Any]) -> p.Loaded:
        """What a load, or a dry run, takes: its weights in main memory, and 1000 bytes a device."""
        weights_bytes = model.get("weights_bytes", 1000)
        buffers = [
            p.Buffer(device="CPU", weights_bytes=weights_bytes, kv_bytes=self.context_tokens)
        ]
        for share in request.layout.shares if request.layout else ():
            buffers.append(p.Buffer(device=share.device, weights_bytes=1000))
        return p.Loaded(
            id=request.id,
            buffers=buffers,
            context_tokens=self.context_tokens,
            trained_context_tokens=self.trained_tokens,
            vocabulary_tokens=0x110000,
            embedding_length=2,
            has_encoder_only=False,
            adds_bos=False,
            adds_eos=False,
            bos_token="",
            eos_token="",
            threads=1,
            load_ns=time.monotonic_ns() - started_ns,
        )

    def pass_time(self, seconds: float) -> None:
        """Works on, deaf to requests, until the daemon goes."""
        if select.select([self.channel], [], [], seconds)[0]:
            if not self.channel.recv(1, socket.MSG_PEEK):
                sys.exit(0)
            time.sleep(seconds)

    def begin(self, request: p.Completion) -> None:
        if self.embedding:
            self.fail(request.id, p.FailureKind.UNSUPPORTED, "the model only computes embeddings")
            return
        given = len(request.prompt)
        if given + 1 > self.context_tokens:
            self.fail(
                request.id,
                p.FailureKind.CONTEXT_EXCEEDED,
                f"the prompt has {given} tokens, the context {self.context_tokens}",
                given_tokens=given,
                limit_tokens=self.context_tokens,
            )
            return
        if request.prompt == "garbage":
            self.channel.sendall(struct.pack("<I", 5) + b"\xc1junk")
            return
        self.deaf = self.deaf or request.prompt == "deaf"
        self.active[request.id] = (request, 0)

    def step(self) -> None:
        self.steps += 1
        pieces: list[p.Reply] = []
        ended: list[int] = []
        for request_id, (request, done) in self.active.items():
            word, _, number = str(request.prompt).partition(" ")
            if word == "die" and done == 2:
                os.kill(os.getpid(), int(number))
            limit = self.context_tokens - len(request.prompt)
            if request.max_tokens >= 0:
                limit = min(limit, request.max_tokens)
            if done >= limit:
                ended.append(request_id)
                continue
            pieces.append(p.Piece(id=request_id, text=str(done % 10), tokens=[48 + done % 10]))
            self.active[request_id] = (request, done + 1)
        if pieces:
            self.send(*pieces)
        for request_id in ended:
            self.finish(request_id, p.EndReason.LENGTH)

    def finish(self, request_id: int, reason: p.EndReason) -> None:
        request, done = self.active.pop(request_id)
        self.send(
            p.Completed(
                id=request_id,
                text="",
                reason=reason,
                stop_string=None,
                prompt_tokens=len(request.prompt),
                cached_tokens=0,
                prompt_ns=1,
                completion_tokens=done,
                completion_ns=1,
            )
        )

    def embed(self, request: p.Embedding) -> None:
        vectors = [struct.pack("<2f", 1.0, 0.0) for _ in request.inputs]
        tokens = sum(len(text) for text in request.inputs)
        self.send(p.Embedded(id=request.id, vectors=vectors, dimensions=2, prompt_tokens=tokens))


COMMAND = (sys.executable, str(Path(__file__)))


def write_model(path: Path, **behaviour: object) -> Path:
    """A model file for this program."""
    path.write_bytes(msgspec.json.encode(behaviour))
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    Program(socket.socket(fileno=parser.parse_args().fd)).run()
