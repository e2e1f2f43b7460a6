"""Which loaded model answers a model: those of equal weights share one, and `/api/ps` names it
after the one that was used last."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from olmkit.engine.client import Client
from olmkit.engine.client.replies import RunningModel
from olmkit.engine.client.storereplies import inspect
from olmkit.engine.errors import ApiError

Digests = tuple[str, ...]
"""Of the files that a loaded model consists of; it answers all models that consist of them."""


def serving(client: Client, model: str) -> Digests:
    """What is loaded for a stored model, given by name, ID or digest.

    Raises:
        ApiError: there is no such model; the daemon does not tell, as Ollama.
    """
    found = inspect(client, model)
    return tuple(found["serves"] or [found["id"]])  # what cannot be loaded shares with nothing


class Wanted(NamedTuple):
    """A model, as it is looked for among loaded ones."""

    name: str
    serves: Digests
    """Empty: the daemon does not tell what is loaded for it."""

    @classmethod
    def of(cls, client: Client, model: str) -> "Wanted":
        """The model of that name, ID or digest; one that is not stored is no failure."""
        try:
            return cls(model, serving(client, model))
        except ApiError:
            return cls(model, (model,) if model.startswith("sha256:") else ())

    def is_answered_by(self, name: str, serves: Sequence[str]) -> bool:
        """Whether the loaded model of that name, made of those files, answers it."""
        if serves:
            return tuple(serves) == self.serves
        return name.lower() in (self.name.lower(), f"{self.name.lower()}:latest")

    def among(self, running: Iterable[RunningModel]) -> list[RunningModel]:
        """Those that answer it: one, or more while one replaces another."""
        return [one for one in running if self.is_answered_by(one.name, one.serves)]


def find_loaded(client: Client, model: str) -> list[RunningModel]:
    """The loaded models that answer a model."""
    running = client.running()
    return Wanted.of(client, model).among(running) if running else []
