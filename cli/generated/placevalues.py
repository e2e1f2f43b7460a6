"""What may stand in the places of a command line: words that are always the same, files, and names
that olm is asked for while somebody types (`olm __complete KIND PREFIX`).

Asking imports neither typer nor anything heavy, starts no daemon and ends after a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from olmkit.engine.settings import Settings

PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What may stand in one place."""

    words: tuple[str, ...] = ()
    """Those that end in `=` go on."""
    asked: str = ""
    """The kind of names that olm is asked for."""
    files: bool = False


NOTHING: Final = Values()
FILES: Final = Values(files=True)
MODELS: Final = Values(asked="models")
"""Models of the store."""
MODELS_OR_FILES: Final = Values(asked="models", files=True)
KNOWN: Final = Values(asked="known")
"""Models of the store, and short names of others."""
RUNNING: Final = Values(asked="running")
SESSIONS: Final = Values(asked="sessions")
KEYS: Final = Values(asked="keys")


def static_values() -> dict[str, Values]:
    """Words from olm's tables: `parameters`, `quantizations`, `cache types` and `settings`."""
    from olmkit.engine.gguf.tensortypes import FILE_TYPES
    from olmkit.engine.kvcachetypes import KV_CACHE_TYPES
    from olmkit.engine.settings import Settings
    from olmkit.modelfile.parameters import TABLE

    readings = Settings.from_environment({"HOME": "/"}).readings
    return {
        "parameters": Values(words=tuple(f"{name}=" for name in TABLE)),
        "quantizations": Values(words=tuple(FILE_TYPES.values())),
        "cache types": Values(words=tuple(KV_CACHE_TYPES)),
        "settings": Values(words=tuple(sorted(readings))),
    }


def candidates(words: Sequence[str]) -> list[str]:
    """The names of a kind that begin with a prefix, given both.

    Never fails and never starts a daemon: who presses the tabulator wants no error.
    """
    from olmkit.cli.errors import CliError
    from olmkit.cli.oneshot.deadline import deadline
    from olmkit.engine.errors import EngineError
    from olmkit.engine.settings import Settings
    from olmkit.registry.errors import RegistryError

    kind, prefix = [*words, "", ""][:2]
    try:
        with deadline(PATIENCE_S):
            names = list(_names(kind, Settings.load()))
    except (CliError, EngineError, RegistryError, OSError):
        return []
    return [name for name in names if name.startswith(prefix)]


def _names(kind: str, settings: "Settings") -> Iterable[str]:
    match kind:
        case "models":
            return _models(settings)
        case "known":
            from olmkit.registry.shortnames import names

            short = names(settings.home / "shortnames.toml")
            return dict.fromkeys((*_models(settings), *short))
        case "running":
            from olmkit.engine.client import connect

            return [model.name for model in connect(settings, start=False).running()]
        case "sessions":
            from olmkit.cli.chat.sessionfile import kept_sessions

            return [file.name for file in kept_sessions(settings.home)]
        case "keys":
            from olmkit.engine.access.keyfile import KeyFile

            return [key.name for key in KeyFile(settings.home).read()]
    return ()


def _models(settings: "Settings") -> list[str]:
    """The stored models; of a daemon of this machine that does not run, by its folder."""
    from olmkit.engine.client import connect
    from olmkit.engine.errors import DaemonNotRunning

    try:
        return [model.name for model in connect(settings, start=False).models()]
    except DaemonNotRunning:
        if not settings.address.is_local:
            raise
    from olmkit.engine.client.offline import stored_models

    return stored_models(settings)
