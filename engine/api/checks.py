"""What generate, chat and their kin check before a model is loaded, in Ollama's words and order.

Source: https://github.com/ollama/ollama/blob/v0.17.4/server/routes.go
"""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.api.native.types import CommonRequest
from olmkit.engine.api.operations.replyheaders import SCHEMA_IGNORED
from olmkit.engine.api.state import Api
from olmkit.engine.chat.conversation import Think, Tool, ToolChoice
from olmkit.engine.errors import InvalidRequest, UnsupportedCapability
from olmkit.engine.inference.inference import Constraint, ConstraintKind
from olmkit.engine.jsonschema.rewriting import rewrite
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec
from olmkit.registry.errors import ModelNotFound

LEVELS: Final = ("high", "medium", "low", "max")
MAX_TOP_LOGPROBS: Final = 20
_ADDRESS: Final = re.compile(r"\s*[a-z][a-z0-9+.-]{0,40}://", re.ASCII | re.IGNORECASE)
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=\r\n]")
NOTHING_IS_FETCHED: Final = "olm fetches nothing from an address that a request names"
GRAMMARS: Final = ("lark", "regex", "gbnf")
MOST_IGNORED_TOLD: Final = 20
_HINTS: Final = {
    "embedding": "it computes embeddings: use /api/embed",
    "rerank": "it ranks documents: use /api/rerank",
}
_ALLOWED: Final = '"high", "medium", "low", "max", true, or false'


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonParameters:
    """The checked values of the fields that /api/generate and /api/chat share."""

    name: str
    """The model's name, as the client sent it."""
    began_ns: int
    keep_alive_s: float | None
    think: Think
    top_logprobs: int | None
    given_options: dict[str, Any]
    constraint: Constraint | None
    thinking_budget: int | None
    ignored: tuple[str, ...]
    """What of the request's schema the answer is not held to."""

    def options(self, spec: ModelSpec) -> Options:
        """The request's options over the model's. Raises: InvalidRequest."""
        return Options.layered(spec.parameters, self.given_options)


def common_parameters(body: CommonRequest) -> CommonParameters:
    """The checked values of a request's common fields. Raises: InvalidRequest."""
    began_ns = time.perf_counter_ns()
    constraint, ignored = parse_format(body.format)
    top_logprobs = check_top_logprobs(logprobs=body.logprobs, top_logprobs=body.top_logprobs)
    return CommonParameters(
        name=body.model or "",
        began_ns=began_ns,
        keep_alive_s=parse_keep_alive(body.keep_alive),
        think=parse_think(body.think),
        top_logprobs=top_logprobs,
        given_options=body.options or {},
        constraint=constraint,
        ignored=ignored,
        thinking_budget=parse_budget(body.thinking_budget),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """What happens when a context is too short; see `CompletionRequest`."""

    truncate: bool
    shift: bool


def overflow_of(api: Api, *, truncate: bool | None, shift: bool | None) -> Overflow:
    """What a request says of that, and for what it does not say the daemon's setting."""
    setting = api.services.settings.on_overflow
    return Overflow(
        truncate=setting != "error" if truncate is None else truncate,
        shift=setting == "shift" if shift is None else shift,
    )


async def find_model(api: Api, name: str, *, not_found: str) -> ModelSpec:
    """The model of this name; `not_found` is what to say when there is none.

    Raises:
        ModelNotFound, InvalidReference, ModelUnloadable, StoreError
    """
    if not name:
        raise ModelNotFound(not_found, name=name)
    try:
        return await api.catalog.spec(name)
    except ModelNotFound as error:
        raise ModelNotFound(not_found, name=name, hint=error.hint) from error


def require_model(name: str | None) -> str:
    """The name, which may not be empty. Raises: InvalidRequest."""
    if not name:
        raise InvalidRequest("model is required", field="model")
    return name


def require_capability(spec: ModelSpec, name: str, found: Iterable[str], *, verb: str) -> None:
    """Refuse a model that generates nothing; `verb` is the endpoint. Raises: Unsupported…."""
    if "completion" not in found:
        raise UnsupportedCapability(
            f'"{name}" does not support {verb}',
            model=spec.name,
            capability=verb,
            hint=next(filter(None, map(hint_for, found)), None),
        )


def hint_for(capability: str) -> str | None:
    """What a model with this capability does instead of what it was asked for; None for most."""
    return _HINTS.get(capability)


def require_extras(spec: ModelSpec, wanted: Iterable[str], found: Iterable[str]) -> None:
    """Refuse a model without all `wanted` capabilities. Raises: UnsupportedCapability."""
    missing = [capability for capability in wanted if capability not in set(found)]
    if missing:
        listed = "\n".join(missing)
        raise UnsupportedCapability(
            f"{spec.full_name} does not support {listed}", model=spec.name, capability=missing[0]
        )


def parse_think(given: Any) -> Think:
    """Whether the model shall think. Raises: InvalidRequest."""
    if given is None or isinstance(given, bool):
        return given
    if not isinstance(given, str):
        raise InvalidRequest(f"think must be a boolean or string ({_ALLOWED})", field="think")
    if given not in LEVELS:
        raise InvalidRequest(
            f'invalid think value: "{given[:80]}" (must be {_ALLOWED})', field="think"
        )
    return given


def settle_think(think: Think, name: str, spec: ModelSpec, found: Iterable[str]) -> Think:
    """What a model makes of `think`: one that can, thinks unless told not to.

    Raises:
        UnsupportedCapability: it cannot, and shall.
    """
    can_think = "thinking" in found
    if think and not can_think:
        text = f'"{name}" does not support thinking'
        if spec.gguf.architecture == "qwen3" or "deepseek-r1" in spec.name:
            text += ". Pull the model again to get the latest version with full thinking support"
        raise UnsupportedCapability(text, model=spec.name, capability="thinking")
    if not can_think:
        return None
    return True if think is None else think


def parse_budget(given: int | None) -> int | None:
    """Most tokens of a thought. Raises: InvalidRequest."""
    if given is not None and given < 0:
        raise InvalidRequest("thinking_budget must not be negative", field="thinking_budget")
    return given


def parse_tools(given: Iterable[dict[str, Any]]) -> tuple[Tool, ...]:
    """The tools that a request offers. Raises: InvalidRequest."""
    try:
        return tuple(Tool.parse(tool) for tool in given)
    except ValueError as error:
        raise InvalidRequest(str(error), field="tools") from error


def parse_tool_choice(given: Any, tools: tuple[Tool, ...]) -> ToolChoice:
    """Which tools the answer shall call. Raises: InvalidRequest."""
    try:
        choice = ToolChoice.parse(given)
    except ValueError as error:
        raise InvalidRequest(str(error), field="tool_choice") from error
    if choice.is_bound and not tools:
        raise InvalidRequest("tool_choice asks for a tool and none is offered", field="tool_choice")
    if choice.name and choice.name not in {tool.name for tool in tools}:
        raise InvalidRequest(
            f"tool_choice names {choice.name}, which is not offered", field="tool_choice"
        )
    return choice


def parse_format(given: Any) -> tuple[Constraint | None, tuple[str, ...]]:
    """What the answer must look like: `"json"`, a JSON schema, a grammar, or None for anything.

    Of a schema comes with it what the answer is not held to, `KEYWORD at POINTER`. A grammar is
    `{"type": "grammar", "syntax": S, "definition": TEXT}`, as OpenAI's API has it, S being `lark`,
    `regex` or `gbnf`. All bind the answer, not the thought before it. Whether a schema or grammar
    can be kept, the runner says before the first token.

    Raises:
        InvalidRequest: it is neither; Ollama answers 500, but the request is what is wrong.
    """
    if given is None or given == "":
        return None, ()
    if given == "json":
        return Constraint(kind=ConstraintKind.JSON), ()
    if isinstance(given, dict) and given.get("type") == "grammar":
        syntax, text = given.get("syntax"), given.get("definition")
        if syntax not in GRAMMARS or not isinstance(text, str):
            raise InvalidRequest(
                'a grammar in format has a "syntax" ("lark", "regex" or "gbnf") and a "definition"',
                field="format",
            )
        return Constraint(kind=ConstraintKind(syntax), text=text), ()
    if isinstance(given, dict):
        schema = rewrite(given)
        return Constraint(kind=ConstraintKind.SCHEMA, text=schema.text), schema.ignored
    shown = json.dumps(json.dumps(given))[:200]
    raise InvalidRequest(
        f'invalid format: {shown}; expected "json" or a valid JSON Schema object',
        field="format",
    )


def schema_headers(ignored: tuple[str, ...]) -> dict[str, str]:
    """The header that tells what of its schema an answer was not held to; none for nothing."""
    if not ignored:
        return {}
    told, rest = ignored[:MOST_IGNORED_TOLD], ignored[MOST_IGNORED_TOLD:]
    more = (f"and {len(rest)} more",) if rest else ()
    text = "; ".join((*(one[:200] for one in told), *more))
    plain = json.dumps(text)[1:-1].replace('\\"', '"')
    return {SCHEMA_IGNORED: plain}


def check_images(images: Iterable[str] | None) -> None:
    """Refuse images that are no base64.

    Raises:
        InvalidRequest: one is told by its address, or is not well-formed.
    """
    for image in images or ():
        refuse_image_address(image)
        if bad := _NO_BASE64.search(image):
            raise InvalidRequest(f"illegal base64 data at input byte {bad.start()}", field="images")


def refuse_image_address(given: str) -> None:
    """Refuse an image that is told by its address: the daemon asks nobody for what a request names.

    Raises:
        InvalidRequest: it is.
    """
    if _ADDRESS.match(given):
        raise InvalidRequest(
            "image URLs are not currently supported, please use base64 encoded data instead",
            field="images",
            hint=NOTHING_IS_FETCHED,
        )


def require_no_images(images: list[str] | None, spec: ModelSpec) -> None:
    """Refuse images, which no runner takes yet. Raises: UnsupportedCapability."""
    if images:
        raise UnsupportedCapability(
            f"{spec.full_name} does not support images", model=spec.name, capability="vision"
        )


def check_top_logprobs(*, logprobs: bool | None, top_logprobs: int | None) -> int | None:
    """How many alternatives a token shall have; None for no log-probabilities at all.

    Raises:
        InvalidRequest: outside 0 to `MAX_TOP_LOGPROBS`.
    """
    top = top_logprobs or 0
    if not 0 <= top <= MAX_TOP_LOGPROBS:
        raise InvalidRequest("top_logprobs must be between 0 and 20", field="top_logprobs")
    return top if logprobs else None
