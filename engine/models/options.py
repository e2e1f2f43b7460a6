"""A request's options: which win, what they must look like, and what becomes of them.

Three layers, later ones win: defaults, the model's stored parameters, the request. Values are
coerced as Ollama coerces them, but a wrong type is the request's fault, not the server's, and a
bare `stop` string is a list of one.
Source: `Options.FromMap` of https://github.com/ollama/ollama/blob/v0.17.4/api/types.go
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from olmkit.engine.durations import MissingUnit, keep_alive_seconds, parse_duration
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.kvcachetypes import DEFAULT_KV_CACHE_TYPE
from olmkit.engine.models.logitbias import parse_logit_bias
from olmkit.engine.models.urgency import UNSAID, Urgency
from olmkit.engine.runner.protocol import LoadOptions, Sampling
from olmkit.modelfile.parameters import TABLE, ParameterType, format_value, is_in_range

OptionValue = int | float | bool | tuple[str, ...]

_INT32: Final = range(-(2**31), 2**31)
_INT64: Final = range(-(2**63), 2**63)
_AT_LEAST: Final = {"num_ctx": 0, "min_ctx": 0, "num_batch": 1, "num_thread": 0, "main_gpu": 0}
"""Smallest values that mean something; others have none, or a negative number means a default."""
_AT_MOST: Final = {
    "num_ctx": 1 << 24,
    "min_ctx": 1 << 24,
    "num_batch": 1 << 16,
    "num_thread": 512,
    "num_gpu": 1 << 16,
    "main_gpu": 1 << 10,
    "num_keep": 1 << 24,
    "repeat_last_n": 1 << 24,
    "top_k": 1 << 24,
}
"""Largest values that mean something. Of threads: GGML_MAX_N_THREADS, llama.cpp's ggml.h."""
MAX_STOPS: Final = 256
MAX_STOP_CHARACTERS: Final = 16_384
"""Of all stop strings together: every token is compared with every one of them."""
_MOST_TEXTS: Final = {"dry_sequence_breakers": (16, 256)}
"""Where a list takes fewer: how many, and characters of all together. The vocabulary is searched
for each of these."""


def coerce(raw: Mapping[str, Any]) -> dict[str, OptionValue]:
    """The known options in `raw`, typed; unknown ones and those that are null are left out.

    Raises:
        InvalidRequest: a value has the wrong type or is out of range; names the option.
    """
    return {
        name: value
        for name, given in raw.items()
        if given is not None and (value := _coerce_one(name, given)) is not None
    }


def _coerce_one(name: str, given: Any) -> OptionValue | None:
    row = TABLE.get(name)
    match row.type if row else None:
        case ParameterType.INTEGER:
            return _within(name, _integer(name, given))
        case ParameterType.FLOAT:
            return _within(name, _number(name, given, "float32"))
        case ParameterType.BOOLEAN:
            if not isinstance(given, bool):
                raise _wrong(name, "type boolean")
            return given
        case ParameterType.STRINGS:
            return _strings(name, given)
        case _:
            return None


def _switch(layer: Mapping[str, Any], name: str, *, before: bool) -> bool:
    """A request's own option that is on or off."""
    given = layer.get(name)
    if given is None:
        return before
    if not isinstance(given, bool):
        raise _wrong(name, "type boolean")
    return given


def _within(name: str, value: float) -> float:
    row = TABLE[name]
    if row.is_strict and not is_in_range(name, value):
        raise InvalidRequest(
            f'option "{name}" must be {row.range}, not {format_value(value)}', field=name
        )
    return value


def _wrong(name: str, kind: str) -> InvalidRequest:
    return InvalidRequest(f'option "{name}" must be of {kind}', field=name)


def _number(name: str, given: Any, kind: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise _wrong(name, f"type {kind}")
    return float(given)


def _integer(name: str, given: Any) -> int:
    value = given if type(given) is int else int(_number(name, given, "integer"))
    if value not in (_INT64 if name == "seed" else _INT32):
        raise InvalidRequest(f'option "{name}" is out of range: {value}', field=name)
    if value < _AT_LEAST.get(name, value):
        raise InvalidRequest(
            f'option "{name}" must be at least {_AT_LEAST[name]}, not {value}', field=name
        )
    if value > _AT_MOST.get(name, value):
        raise InvalidRequest(
            f'option "{name}" must be at most {_AT_MOST[name]}, not {value}', field=name
        )
    return value


def _strings(name: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple):
        raise _wrong(name, "type array")
    if not all(isinstance(item, str) for item in given):
        raise _wrong(name, "an array of strings")
    most, characters = _MOST_TEXTS.get(name, (MAX_STOPS, MAX_STOP_CHARACTERS))
    if len(given) > most or sum(map(len, given)) > characters:
        raise InvalidRequest(
            f'option "{name}" takes {most} texts, together {characters} characters', field=name
        )
    return tuple(item for item in given if item)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadDefaults:
    """What the daemon's settings say about loading, where neither model nor request does."""

    context_tokens: int | None = None
    sequences: int = 4
    contexts: int = 1
    """Full contexts that a model's KV cache has room for; 1: all requests share one."""
    flash_attention: bool | None = None
    kv_cache_type: str = DEFAULT_KV_CACHE_TYPE
    prompt_cache_bytes: int = 0
    prompt_store: str = ""
    prompt_store_bytes: int = 0
    has_accelerator: bool = True
    """False: there is nothing that layers could be put on, whatever a request says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of one request on one model, all layers applied."""

    values: Mapping[str, OptionValue] = field(default_factory=dict)
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """What is added to the logits of tokens; a request's own, which no model stores."""
    urgency: Urgency = UNSAID
    """How long the request may take, and whether somebody waits for it; its own too."""
    ignores_end: bool = False
    """The answer goes on past the token that ends it, to `max_tokens`: for measurements alone, and
    a request's own."""

    @classmethod
    def layered(cls, *layers: Mapping[str, Any]) -> "Options":
        """The layers' options, those of later layers winning.

        Raises:
            InvalidRequest: a value has the wrong type or is out of range.
        """
        values: dict[str, OptionValue] = {}
        logit_bias: dict[int, float] = {}
        ignores_end, urgency = False, UNSAID
        for layer in layers:
            values |= coerce(layer)
            logit_bias = parse_logit_bias(layer.get("logit_bias")) or logit_bias
            ignores_end = _switch(layer, "ignore_eos", before=ignores_end)
            urgency = urgency.refined(layer.get("priority"), layer.get("timeout"))
        return cls(values=values, logit_bias=logit_bias, urgency=urgency, ignores_end=ignores_end)

    def with_values(self, values: Mapping[str, OptionValue]) -> "Options":
        """The same with other values of some options."""
        return replace(self, values={**self.values, **values})

    @property
    def sampling(self) -> Sampling:
        """Those that shape the choice of tokens."""
        names = Sampling.__struct_fields__
        chosen = {name: self.values.get(name, TABLE[name].default) for name in names}
        if self.is_reproducible and self._integer("seed") < 0:
            chosen["seed"] = 0
        return msgspec.convert(chosen, Sampling)

    @property
    def max_tokens(self) -> int:
        """Most tokens to generate; -1, as 0 and all below: as many as the context allows."""
        wanted = self._integer("num_predict")
        return wanted if wanted > 0 else -1

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer at a time; 0: as many as are loaded."""
        return self._integer("num_ctx")

    @property
    def keep_tokens(self) -> int:
        """Tokens at the beginning that stay when the context is full; -1: the whole prompt."""
        return max(-1, self._integer("num_keep"))

    @property
    def batch_tokens(self) -> int:
        """Most tokens of the prompt that are computed in one step."""
        return self._integer("num_batch")

    @property
    def is_reproducible(self) -> bool:
        """Whether the same request shall give the same bits every time."""
        return self.values.get("reproducible") is True

    @property
    def draft_tokens(self) -> int:
        """Most tokens that are guessed and checked at once; -1: as many as pay, 0: none."""
        return self._integer("draft_num_predict") if "draft_num_predict" in self.values else -1

    @property
    def adapter_scale(self) -> float:
        """How strong the model's adapters are; 0: as if there were none."""
        value = self.values.get("adapter_scale", 1.0)
        return value if isinstance(value, float) else 1.0

    @property
    def stop(self) -> tuple[str, ...]:
        """The texts before which the answer ends."""
        value = self.values.get("stop", ())
        return value if isinstance(value, tuple) else ()

    def load_options(self, defaults: LoadDefaults, *, embedding: bool) -> LoadOptions:
        """Those that are fixed when a model is loaded.

        `context_tokens` is 0 when nobody says how long the context shall be, `batch_tokens` when
        nobody says how much is computed at once.
        """
        main_gpu, use_mmap = self.values.get("main_gpu"), self.values.get("use_mmap")
        return LoadOptions(
            context_tokens=self._integer("num_ctx") or defaults.context_tokens or 0,
            sequences=defaults.sequences,
            contexts=1 if embedding else defaults.contexts,
            batch_tokens=self._integer("num_batch", 2048 if embedding else 0),
            gpu_layers=max(-1, self._integer("num_gpu")) if defaults.has_accelerator else -1,
            main_gpu=main_gpu if isinstance(main_gpu, int) and defaults.has_accelerator else None,
            use_mmap=use_mmap if isinstance(use_mmap, bool) else None,
            threads=self._integer("num_thread"),
            require_gpu=self.values.get("require_gpu") is True,
            least_context_tokens=self._integer("min_ctx"),
            kv_cache_type=defaults.kv_cache_type,
            flash_attention=defaults.flash_attention,
            embedding=embedding,
            prompt_cache_bytes=defaults.prompt_cache_bytes,
            prompt_store=defaults.prompt_store,
            prompt_store_bytes=defaults.prompt_store_bytes,
        )

    def _integer(self, name: str, default: int | None = None) -> int:
        """The option's value, or the default, which is the table's unless another one is given."""
        value = self.values.get(name, TABLE[name].default if default is None else default)
        return value if isinstance(value, int) else 0


def parse_keep_alive(given: Any) -> float | None:
    """Seconds that a model stays loaded after a request; `math.inf`: for ever, None: not said.

    A number is seconds, a text a Go duration; either, when negative, means for ever.

    Raises:
        InvalidRequest: neither, in Ollama's words.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        kind = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}
        raise InvalidRequest(
            f"Unsupported type: '{kind.get(type(given), type(given).__name__)}'", field="keep_alive"
        )
    if isinstance(given, str):
        try:
            return keep_alive_seconds(parse_duration(given))
        except ValueError as error:
            problem = "missing unit in" if isinstance(error, MissingUnit) else "invalid"
            raise InvalidRequest(
                f'time: {problem} duration "{given[:64]}"', field="keep_alive"
            ) from error
    return keep_alive_seconds(float(given))
