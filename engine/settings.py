"""Settings of the daemon and its clients, from `OLM_*` variables and their `OLLAMA_*` twins.

The only reader of the environment in the engine. `OLM_X` wins over `OLLAMA_X`; values lose
surrounding blanks and quotes, as Ollama's do (cli reference, sections 2.1 and 3).
"""

from dataclasses import dataclass

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the daemon listens and clients connect."""

    scheme: str = "http"
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    path: str = ""
    """URL prefix without a closing slash; empty for none."""
