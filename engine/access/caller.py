"""Who a request comes from: known to all that is done for it, in whatever task or thread.

A context variable, because the work for one request passes through the store's threads and the
scheduler, which have no use for the rest of a request.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from olmkit.engine.access.modelpatterns import matches
from olmkit.engine.errors import KeyForbids
from olmkit.registry.oci.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The one who asks."""

    name: str = ""
    """Of the key; empty: none was needed."""
    models: tuple[str, ...] | None = None
    """Patterns of the models that may be used; None: all."""

    def may_use(self, reference: Reference) -> bool:
        """Whether the model is one of the caller's."""
        return self.models is None or matches(self.models, reference)


NOBODY: Final = Caller()
"""Outside of requests, and where no key is needed: may do all."""

_current: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current() -> Caller:
    """The caller of the request that is worked on; `NOBODY` outside of requests."""
    return _current.get()


def enter(caller: Caller) -> None:
    """All that this task does from now on is done for the caller."""
    _current.set(caller)


def require_access(reference: Reference) -> None:
    """Nothing when the caller may use the model, which need not exist. Raises: KeyForbids."""
    caller = current()
    if not caller.may_use(reference):
        raise KeyForbids(
            f"the key {caller.name} is not good for the model {reference.short[:200]}",
            key=caller.name,
        )


def require_access_to_all() -> None:
    """Nothing when the caller may use every model. Raises: KeyForbids."""
    caller = current()
    if caller.models is not None:
        raise KeyForbids(
            f"the key {caller.name} is good for some models only, and this is about all",
            key=caller.name,
        )
