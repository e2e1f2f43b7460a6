"""The template worker: `python -m olmkit.engine.chat.templates.renderworker --fd N`.

A child process of the daemon that runs chat templates, one at a time, and nothing else. It gives
up network, files and privileges and sets its own limits of memory and time before the first
template, so that they hold also when the daemon is gone; at EOF on its socket it ends.
"""

import argparse
import resource
import signal
import socket
import sys

from olmkit.engine.chat.templates import jinja
from olmkit.engine.chat.templates.renderlimits import (
    DEADLINE_S,
    MAX_MEMORY_BYTES,
    MAX_TEMPLATE_CHARACTERS,
)
from olmkit.engine.chat.templates.renderprotocol import (
    InsertGo,
    InspectGo,
    Job,
    JobFailed,
    Ready,
    Rendered,
    RenderGo,
    RenderJinja,
    Reply,
    decode_job,
)
from olmkit.engine.confinement.confining import confine
from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.errors import TemplateFailed, TemplateRefused
from olmkit.engine.framing import FRAME_HEADER, ProtocolViolation, encode_frame, payload_length

MAX_MESSAGE_CHARACTERS = 500


def main() -> int:
    """Serve jobs until the daemon closes the socket."""
    parser = argparse.ArgumentParser(prog="olm template worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument(
        "--confine", type=Confinement, choices=Confinement, default=Confinement.FULL
    )
    parser.add_argument("--deadline", type=float, default=DEADLINE_S)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the daemon's matter
    confine(arguments.confine)
    limit_memory()
    with socket.socket(fileno=arguments.fd) as connection:
        try:
            connection.sendall(encode_frame(Ready()))
            while (payload := receive(connection)) is not None:
                # Processor time: a busy machine is not the template's fault. The signal's default
                # is to end this process: no template can catch it.
                signal.setitimer(signal.ITIMER_PROF, arguments.deadline)
                reply = encode_reply(payload)
                signal.setitimer(signal.ITIMER_PROF, 0)
                connection.sendall(reply)
        except (ConnectionError, ProtocolViolation):
            return 1
    return 0


def limit_memory() -> None:
    """Allow `MAX_MEMORY_BYTES` of address space beyond what the imports took, where possible."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            taken = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        taken = 1 << 30  # not Linux: the imports take less than this
    limit = taken + MAX_MEMORY_BYTES
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):
        pass


def receive(connection: socket.socket) -> bytes | None:
    """The payload of the next frame; None at EOF between two frames."""
    header = _receive_exactly(connection, FRAME_HEADER.size)
    if not header:
        return None
    return _receive_exactly(connection, payload_length(header))


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(count - len(data), 1 << 20))
        if not piece:
            if data:
                raise ConnectionError("EOF inside a frame")
            return b""
        data += piece
    return bytes(data)


def answer(job: Job) -> Reply:
    """Do one job; a template's failure is a reply, not an exception."""
    try:
        if len(job.template) > MAX_TEMPLATE_CHARACTERS:
            raise TemplateFailed(
                f"the chat template has more than {MAX_TEMPLATE_CHARACTERS} characters"
            )
        match job:
            case RenderJinja():
                return Rendered(text=jinja.render(job.template, job.variables))
            case RenderGo() | InsertGo() | InspectGo():
                return _answer_go(job)
    except TemplateFailed as error:
        return JobFailed(
            message=str(error)[:MAX_MESSAGE_CHARACTERS],
            is_refusal=isinstance(error, TemplateRefused),
        )


def _answer_go(job: RenderGo | InsertGo | InspectGo) -> Reply:
    from olmkit.engine.chat.templates import gotext

    match job:
        case RenderGo():
            return Rendered(text=gotext.render(job))
        case InsertGo():
            return Rendered(text=gotext.insert(job))
        case InspectGo():
            return gotext.inspect(job)


def encode_reply(payload: bytes) -> bytes:
    """The frame that answers a job.

    Raises:
        ProtocolViolation: the payload is no job.
    """
    job = decode_job(payload)
    try:
        return encode_frame(answer(job))
    except ProtocolViolation:  # a lone surrogate
        return encode_frame(JobFailed(message="the chat template writes what is no text"))
    except MemoryError:
        return encode_frame(JobFailed(message="the chat template takes too much memory"))


if __name__ == "__main__":
    sys.exit(main())
