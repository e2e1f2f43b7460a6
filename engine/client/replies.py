"""The daemon's JSON made into values: lenient about what is absent, never about types.

A field of another type than the API's (engine/api/native/types.py) reads as absent:
the daemon may be another version, or Ollama. Named tuples, not dataclasses: ten of those would
cost every command five milliseconds.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from olmkit.engine.errors import ApiError, DaemonError

T = TypeVar("T")
Object = Mapping[str, Any]


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises:
        DaemonError: it is none.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DaemonError(f"the daemon's answer is no JSON: {raw[:80]!r}") from error
    if not isinstance(value, dict):
        raise DaemonError(f"the daemon's answer is no JSON object: {raw[:80]!r}")
    return value


def api_error(reply: Object, status: int) -> ApiError | None:
    """The error that an object of the daemon carries, if it carries one.

    `status` is the reply's, unless the object has one of its own (in a stream, where the
    reply's was sent before anything failed).
    """
    if "error" not in reply:
        return None
    text = _get(reply, "error", str) or "the daemon failed without saying why"
    hint = _get(reply, "hint", str)
    if hint and hint.startswith(f"{text} "):
        # Ollama's bare sentence, and the same one with the words that it is about.
        text, _, hint = hint.partition("\n")
    own_status = _get(reply, "http_status", int)
    return ApiError(text, status=own_status or status, code=_text(reply, "code"), hint=hint or None)


def _get(reply: Object, key: str, kind: type[T]) -> T | None:
    value = reply.get(key)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _text(reply: Object, key: str) -> str:
    return _get(reply, key, str) or ""


def _count(reply: Object, key: str) -> int:
    return _get(reply, key, int) or 0


def _object(reply: Object, key: str) -> dict[str, Any]:
    return _get(reply, key, dict) or {}


def _objects(reply: Object, key: str) -> list[dict[str, Any]]:
    return [item for item in _get(reply, key, list) or [] if isinstance(item, dict)]


def _instant(reply: Object, key: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(_text(reply, key))
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.astimezone()


class ListedModel(NamedTuple):
    """A stored model, as `GET /api/tags` lists it."""

    name: str
    digest: str
    """64 hex digits."""
    size_bytes: int
    modified_at: datetime | None
    is_remote: bool
    """A stub that another server answers for."""
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""


def listed_models(reply: Object) -> list[ListedModel]:
    """The models of a reply to `GET /api/tags`, in its order: newest first."""
    return [
        ListedModel(
            name=_text(model, "name"),
            digest=_text(model, "digest").removeprefix("sha256:"),
            size_bytes=_count(model, "size"),
            modified_at=_instant(model, "modified_at"),
            is_remote=bool(_text(model, "remote_model")),
            family=_text(details, "family"),
            parameter_size=_text(details, "parameter_size"),
            quantization=_text(details, "quantization_level"),
        )
        for model in _objects(reply, "models")
        for details in (_object(model, "details"),)
    ]


class Drawing(NamedTuple):
    """How next tokens are drawn: from how many requests in one step on each way is used."""

    shortlist_from: int | None
    threads_from: int | None


class RunningModel(NamedTuple):
    """A loaded model, as `GET /api/ps` lists it."""

    name: str
    digest: str
    size_bytes: int
    vram_bytes: int
    context_tokens: int
    expires_at: datetime | None
    safe_mode: str = ""
    """What the engine does without, and why."""
    devices: Mapping[str, int] = {}
    """Bytes by device, main memory as `CPU`."""
    notes: tuple[str, ...] = ()
    """In which ways the model has less than was asked for."""
    state: str = ""
    """`starting`, `ready`, `draining`, `stopping`; empty from Ollama."""
    sequences: int = 0
    """Requests that it decodes side by side; 0 from Ollama."""
    busy: int = 0
    contexts: int = 0
    """Full contexts that its KV cache has room for; 0: not told, as all below."""
    short: int = 0
    """Requests that wait for room there."""
    context_by: str = ""
    """What decided how long a context is: `asked`, `default`, `trained`, `memory`."""
    cached_tokens: int | None = None
    """Tokens in the KV pool; None: not told."""
    serves: tuple[str, ...] = ()
    """Digests of what is loaded, the same for all models that it answers; empty from Ollama."""
    drawing: Drawing | None = None


def running_models(reply: Object) -> list[RunningModel]:
    """The models of a reply to `GET /api/ps`, in its order: latest expiry first."""
    return [
        RunningModel(
            name=_text(model, "name"),
            digest=_text(model, "digest").removeprefix("sha256:"),
            size_bytes=_count(model, "size"),
            vram_bytes=_count(model, "size_vram"),
            context_tokens=_count(model, "context_length"),
            expires_at=_instant(model, "expires_at"),
            safe_mode=_text(model, "safe_mode"),
            devices={
                name: size
                for name, size in _object(model, "devices").items()
                if isinstance(size, int)
            },
            notes=tuple(map(str, model.get("notes") or ())),
            state=_text(model, "state"),
            sequences=_count(_object(model, "sequences"), "total"),
            busy=_count(_object(model, "sequences"), "busy"),
            contexts=_count(_object(model, "sequences"), "contexts"),
            short=_count(_object(model, "sequences"), "short"),
            context_by=_text(model, "context_by"),
            cached_tokens=_get(model, "cached_tokens", int),
            serves=tuple(map(str, model.get("serves") or ())),
            drawing=_drawing(_get(model, "drawing", dict)),
        )
        for model in _objects(reply, "models")
    ]


def _drawing(told: Object | None) -> Drawing | None:
    if told is None:
        return None
    return Drawing(
        shortlist_from=_get(told, "shortlist_from", int),
        threads_from=_get(told, "threads_from", int),
    )


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str
    thinking: str = ""
    images: tuple[str, ...] = ()
    """Base64, without a prefix."""

    def as_request(self) -> dict[str, object]:
        """The message as the API takes it."""
        message: dict[str, object] = {"role": self.role, "content": self.content}
        if self.thinking:
            message["thinking"] = self.thinking
        if self.images:
            message["images"] = list(self.images)
        return message


class ModelDetails(NamedTuple):
    """What `POST /api/show` tells of a model; texts are empty where there is none."""

    license: str
    modelfile: str
    parameters: str
    """One line a value: name, blanks, value in JSON-like form."""
    template: str
    template_kind: str
    """`jinja`, `go` or `plain`: how prompts are rendered; empty where the daemon does not tell."""
    template_reason: str
    """Why so: completes "because …"."""
    template_notes: tuple[str, ...]
    """What is done about conversations that the template does not take, a sentence each."""
    system: str
    messages: tuple[Message, ...]
    family: str
    parent_model: str
    parameter_size: str
    quantization: str
    capabilities: tuple[str, ...]
    requires: str
    remote_model: str
    remote_host: str
    info: Mapping[str, Any]
    """GGUF metadata by key, values as JSON gives them."""
    has_info: bool
    projector_info: Mapping[str, Any]
    draft: Mapping[str, Any]
    """Of the draft model: `family`, `parameter_size`, `quantization_level`, `used`; `is_head` where
    it is a head in the model's own file."""
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, type and shape."""

    @property
    def is_multimodal(self) -> bool:
        """Whether the model takes images or sound besides text."""
        return (
            "vision" in self.capabilities
            or "audio" in self.capabilities
            or bool(self.projector_info)
            or any(".vision." in key for key in self.info)
        )


def model_details(reply: Object) -> ModelDetails:
    """A reply to `POST /api/show`."""
    details = _object(reply, "details")
    own = _object(reply, "olm")
    effective = _object(own, "template")
    return ModelDetails(
        license=_text(reply, "license"),
        modelfile=_text(reply, "modelfile"),
        parameters=_text(reply, "parameters"),
        template=_text(reply, "template"),
        template_kind=_text(effective, "kind"),
        template_reason=_text(effective, "reason"),
        template_notes=tuple(map(str, _get(effective, "notes", list) or [])),
        system=_text(reply, "system"),
        messages=tuple(
            Message(role=_text(message, "role"), content=_text(message, "content"))
            for message in _objects(reply, "messages")
        ),
        family=_text(details, "family"),
        parent_model=_text(details, "parent_model"),
        parameter_size=_text(details, "parameter_size"),
        quantization=_text(details, "quantization_level"),
        capabilities=tuple(map(str, _get(reply, "capabilities", list) or [])),
        requires=_text(reply, "requires"),
        remote_model=_text(reply, "remote_model"),
        remote_host=_text(reply, "remote_host"),
        info=_object(reply, "model_info"),
        has_info=isinstance(reply.get("model_info"), dict),
        projector_info=_object(reply, "projector_info"),
        draft=_object(own, "draft"),
        tensors=tuple(
            (
                _text(tensor, "name"),
                _text(tensor, "type"),
                tuple(n for n in _get(tensor, "shape", list) or [] if isinstance(n, int)),
            )
            for tensor in _objects(reply, "tensors")
        ),
    )


def rendered_prompt(reply: Object) -> str:
    """A reply to a request with `_debug_render_only`.

    Raises:
        DaemonError: the daemon rendered nothing.
    """
    text = _object(reply, "_debug_info").get("rendered_template")
    if not isinstance(text, str):
        raise DaemonError("the daemon does not tell prompts")
    return text


def parsed_message(reply: Object) -> Object:
    """A reply to `POST /api/parse`: content, perhaps thinking and tool_calls."""
    return _object(reply, "message")


def tokens(reply: Object) -> list[int]:
    """A reply to `POST /api/tokenize`."""
    return [token for token in _get(reply, "tokens", list) or [] if isinstance(token, int)]


class Progress(NamedTuple):
    """One line of a pull, a create or an import; sizes are None where there is no measure."""

    status: str
    digest: str = ""
    total_bytes: int | None = None
    completed_bytes: int | None = None


def progress(reply: Object) -> Progress:
    """A line of a stream of `POST /api/pull`, `/api/create` or `/api/import`."""
    return Progress(
        status=_text(reply, "status"),
        digest=_text(reply, "digest"),
        total_bytes=_get(reply, "total", int),
        completed_bytes=_get(reply, "completed", int),
    )


def served_version(reply: Object) -> str:
    """The version in a reply to `GET /api/version`, where the API's own stands beside it."""
    return _text(_object(reply, "olm"), "version") or _text(reply, "version")


class Timings(NamedTuple):
    """What an answer took; zero where the daemon said nothing."""

    total_ns: int = 0
    load_ns: int = 0
    prompt_tokens: int = 0
    prompt_ns: int = 0
    completion_tokens: int = 0
    completion_ns: int = 0
    schema_ignored: str = ""
    """What of the request's schema the answer was not held to."""


class Dropped(NamedTuple):
    """What an answer was made without, because the context was too short for it."""

    messages: int = 0
    prompt_tokens: int = 0
    shifted_tokens: int = 0


class Wait(NamedTuple):
    """What an answer that has not begun waits for."""

    phase: str
    """`queue`, `load` or `prompt`."""
    fraction: float
    """How far that is, 0 to 1."""
    position: int | None = None
    """The place in the queue, from 1 on."""


class Chunk(NamedTuple):
    """A piece of an answer of `POST /api/generate` or `/api/chat`."""

    text: str
    thinking: str
    tool_calls: tuple[Mapping[str, Any], ...]
    done_reason: str
    timings: Timings | None
    """With the last piece only."""
    dropped: Dropped = Dropped()
    """With the last piece only."""
    waits_for: Wait | None = None
    """What the answer that has not begun waits for; with nothing else."""


def chunk(reply: Object, *, schema_ignored: str = "") -> Chunk:
    """A line of a stream of `POST /api/generate` or `/api/chat`."""
    message = _object(reply, "message") or reply
    done = reply.get("done") is True
    return Chunk(
        text=_text(message, "content" if message is not reply else "response"),
        thinking=_text(message, "thinking"),
        tool_calls=tuple(_object(call, "function") for call in _objects(message, "tool_calls")),
        done_reason=_text(reply, "done_reason"),
        timings=timings(reply)._replace(schema_ignored=schema_ignored) if done else None,
        dropped=_dropped(_object(reply, "olm")),
        waits_for=_wait(_object(_object(reply, "olm"), "progress")),
    )


def _wait(progress: Object) -> Wait | None:
    phase, fraction = _text(progress, "phase"), progress.get("fraction")
    if not phase or isinstance(fraction, bool) or not isinstance(fraction, int | float):
        return None
    return Wait(phase, min(max(float(fraction), 0.0), 1.0), _get(progress, "position", int))


def _dropped(own: Object) -> Dropped:
    return Dropped(
        messages=_count(own, "dropped_messages"),
        prompt_tokens=_count(own, "dropped_prompt_tokens"),
        shifted_tokens=_count(own, "shifted_tokens"),
    )


def timings(reply: Object) -> Timings:
    """The counts and durations of a last chunk, or of an embedding."""
    return Timings(
        total_ns=_count(reply, "total_duration"),
        load_ns=_count(reply, "load_duration"),
        prompt_tokens=_count(reply, "prompt_eval_count"),
        prompt_ns=_count(reply, "prompt_eval_duration"),
        completion_tokens=_count(reply, "eval_count"),
        completion_ns=_count(reply, "eval_duration"),
    )


class DaemonStatus(NamedTuple):
    """What the daemon says of itself to clients on its machine; empty from Ollama."""

    version: str = ""
    pid: int | None = None
    incoming: str = ""
    """Directory where local files are handed over by hard link."""


def daemon_status(reply: Object) -> DaemonStatus:
    """A reply to `GET /api/status`."""
    own = _object(reply, "olm")
    return DaemonStatus(
        version=_text(own, "version"),
        pid=_get(own, "pid", int),
        incoming=_text(own, "incoming"),
    )


def first_embedding(reply: Object) -> list[float]:
    """The first vector of a reply to `POST /api/embed`.

    Raises:
        DaemonError: there is none.
    """
    vectors = _get(reply, "embeddings", list) or []
    if not vectors or not isinstance(vectors[0], list):
        raise DaemonError("the daemon's answer holds no embedding")
    return vectors[0]
