"""The settings and the variables of the environment that matter, without secrets."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from olmkit.engine.addresses.address import Address
from olmkit.engine.configuration.settingreader import DEBUG, INFO, Kind, Reading
from olmkit.engine.settings import LOCAL_ORIGINS, Settings

_PREFIXES: Final = ("OLM_", "OLLAMA_")
_OTHERS: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
        *("GGML_VK_VISIBLE_DEVICES", "LLAMA_CPP_LIB_PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
        *("SSL_CERT_FILE", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "HF_ENDPOINT", "HF_HOME"),
        *("HF_TOKEN", "NO_COLOR", "PYTHONPATH"),
    }
)
_SECRET: Final = re.compile(r"TOKEN|KEY(?!_)|SECRET|PASSWORD", re.IGNORECASE)
_NO_SECRETS: Final = frozenset({"OLM_TLS_KEY", "OLM_MAX_QUEUE_PER_KEY", "OLLAMA_MAX_QUEUE_PER_KEY"})
"""Names of files and counts of keys."""
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]*@")
_HIDDEN_FIELDS: Final = frozenset(
    {"api_key", "remotes", "sources", "project_fields", "readings", "warnings"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFact:
    """One setting as it counts."""

    name: str
    value: str
    source: str
    """The variable, or the line of a file, that it was read from, or `default`."""


def settings_of(settings: Settings) -> tuple[SettingFact, ...]:
    """All settings, in the order of the class."""
    return tuple(
        SettingFact(
            name=each.name,
            value=_text(getattr(settings, each.name), is_mode=each.name == "socket_mode"),
            source=settings.source_of(each.name),
        )
        for each in fields(settings)
        if each.name not in _HIDDEN_FIELDS
    )


def setting_text(settings: Settings, reading: Reading) -> str:
    """The value that a setting has, for readers; durations in seconds, sizes in bytes."""
    value = settings.value_of(reading.field)
    if reading.kind is Kind.LEVEL:
        return {DEBUG: "true", INFO: "false"}.get(settings.log_level, str(settings.log_level))
    if reading.kind is Kind.LIST and not isinstance(value, tuple):
        return ",".join(sorted(value)) if isinstance(value, frozenset) else ""
    if value == () or (value is None and reading.kind in (Kind.TEXT, Kind.PATH)):
        return ""
    return _text(value, is_mode=reading.kind is Kind.MODE)


def variables_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what olm does, by name; what may be a secret is masked."""
    return {
        name: "(set, not shown)" if is_secret(name) else without_credentials(environ[name])
        for name in sorted(environ)
        if name.startswith(_PREFIXES) or name in _OTHERS
    }


def is_secret(name: str) -> bool:
    """Whether a variable of that name may hold a secret."""
    return name not in _NO_SECRETS and _SECRET.search(name) is not None


def without_credentials(text: str) -> str:
    """The text with user and password of any URL in it masked."""
    return _CREDENTIALS.sub("***@", text)


def _text(value: object, *, is_mode: bool) -> str:
    if is_mode:
        return f"{value:04o}"
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Address):
        return value.url
    if isinstance(value, float):
        return "unlimited" if math.isinf(value) else f"{value:g}"
    if isinstance(value, tuple):
        own = (
            value[: -len(LOCAL_ORIGINS)] if value[-len(LOCAL_ORIGINS) :] == LOCAL_ORIGINS else value
        )
        return ", ".join([*map(str, own), *(["local ones"] if own != value else [])])
    return str(value)
