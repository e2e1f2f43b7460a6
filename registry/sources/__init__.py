"""Where models come from: each module turns a name into a manifest and blobs in the store."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from olmkit.registry.events import EventSink
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import PYPI_HOST, Reference
from olmkit.registry.store.store import Store, StoredModel

if TYPE_CHECKING:  # the daemon imports no HTTP client before the first pull
    from olmkit.registry.http.web import RemoteAccess
    from olmkit.registry.signatures.policy import Rule

Describe = Callable[[Path], ModelConfig]
"""Function that reads a weights file's header: format, family, parameters, quantization. The caller
of `pull` gives it, because reading GGUF headers is not the registry's business. It may raise to
refuse the file: then the pull ends with that error and nothing is stored."""


Source = Callable[..., StoredModel]

AUTO: Final = "auto"
"""The quantization that is the largest for which this machine has memory."""
MEMORY_SHARE: Final = 0.8
"""Largest share of the memory for weights; more would leave too little for the context."""
HUGGING_FACE_HOSTS = ("hf.co", "huggingface.co")
"""Host names of Hugging Face, whose models are files of a repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """How to pull; each source uses what concerns it."""

    insecure: bool = False
    """Whether the reference's host may be reached over plain http, and with any certificate."""
    access: "RemoteAccess | None" = None
    """How remote hosts are reached; None: directly, anonymously, with the system's certificates."""
    quantization: str | None = None
    """Quantization to take where a name stands for several; None for the one that fits best."""
    memory_bytes: int | None = None
    """Memory that this machine has for a model; None when that is unknown."""
    revision: str | None = None
    """Commit of a repository on Hugging Face; None for the newest of `main`."""
    rules: "tuple[Rule, ...]" = ()
    """What has to be true of the model before any of its blobs is fetched: all of them."""

    def admit(self, reference: Reference, *, has_signatures: bool) -> None:
        """Refuse what no look at the model can make right.

        Raises:
            NotTrusted: it is forbidden, or needs signatures that its source cannot have.
        """
        for rule in self.rules:
            rule.require_possible(reference, has_signatures=has_signatures)


def is_at_registry(reference: Reference) -> bool:
    """Whether the name is one of an OCI registry, which can have signatures."""
    return reference.host not in (PYPI_HOST, *HUGGING_FACE_HOSTS)


def pull(
    reference: Reference,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
    options: PullOptions | None = None,
) -> StoredModel:
    """Bring a model into the store under its reference, and return it.

    Synchronous; runs in any thread and holds a lease meanwhile. Setting `cancelled` ends it soon.

    Raises:
        NotTrusted: one of the options' rules is against it.
        ModelNotFound: its source has no such model.
        SourceError: what the source has is no model.
        Cancelled: `cancelled` was set.
        RemoteError: the source cannot be reached, or refuses.
        StoreError, DiskFull: the store cannot take it.
    """
    options = options or PullOptions()
    is_registry = is_at_registry(reference)
    options.admit(reference, has_signatures=is_registry)
    with store.lease():
        if reference.host == PYPI_HOST:
            import olmkit.registry.sources.pypi as pypi

            return pypi.pull(
                reference, store, on_event=on_event, cancelled=cancelled, describe=describe
            )
        module = "oci" if is_registry else "huggingface"
        source: Source = import_module(f"olmkit.registry.sources.{module}").pull
        return source(
            reference,
            store,
            on_event=on_event,
            cancelled=cancelled,
            describe=describe,
            options=options,
        )


def pull_address(
    address: str,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
    options: PullOptions | None = None,
) -> StoredModel:
    """Bring the GGUF file at a web address into the store, and return the model.

    Raises:
        InvalidReference: the address is none of a GGUF file.
        RegistryError: as `pull`.
    """
    import olmkit.registry.sources.url as url

    options = options or PullOptions()
    options.admit(Reference.parse(address), has_signatures=False)
    with store.lease():
        return url.pull(
            address,
            store,
            on_event=on_event,
            cancelled=cancelled,
            describe=describe,
            options=options,
        )
