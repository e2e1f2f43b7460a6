"""A GGUF file that is run by its path, without a name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.typedpaths import typed_status
from olmkit.engine.client import Client
from olmkit.engine.errors import ApiError

REMOTE_PREFIXES: Final = ("hf.co/", "huggingface.co/", "pypi://", "http://", "https://", "oci://")


@contextmanager
def called(path: str, digest: str | None) -> Iterator[None]:
    """In the block, errors call a local file by its path, not by the digest that the daemon
    knows."""
    try:
        yield
    except ApiError as error:
        if digest is None:
            raise
        text = str(error)
        for spelling in (f"model {digest[7:19]}", digest, digest[7:19]):
            text = text.replace(spelling, path)
        raise ApiError(text, status=error.status, code=error.code, hint=error.hint) from error


def local_file(client: Client, model: str, terminal: Terminal) -> str | None:
    """The digest under which a local GGUF file runs; None if the word is a name.

    Raises:
        NotFound: it looks like a path, but nothing is there.
        UsageError: it is a directory.
    """
    if model.startswith(REMOTE_PREFIXES):
        return None
    looks_local = model.startswith(("/", "./", "../", "~"))
    if not looks_local and not model.lower().endswith(".gguf"):
        return None
    path = Path(os.path.expanduser(model))
    if typed_status(path) is None:
        if not looks_local and _is_stored(client, model):
            return None
        raise NotFound(f"no such file: {model}")
    if path.is_dir():
        raise UsageError(
            f"{model} is a directory", hint="`olm create NAME -f Modelfile` builds a model of it"
        )
    _require_whole(path)
    from olmkit.cli.building.handover import hand_over
    from olmkit.cli.screen.progress import progress_display

    with progress_display(terminal) as display:
        return hand_over(client, path, display)


def _is_stored(client: Client, name: str) -> bool:
    """Whether the store has a model of this name, which ends as files do."""
    try:
        client.show(name)
    except ApiError:
        return False
    return True


def _require_whole(path: Path) -> None:
    from olmkit.registry.shardnames import parse_shard_name

    shard = parse_shard_name(path.name)
    if shard is not None:
        raise UsageError(
            f"{path} is part {shard.number} of {shard.count} of a model",
            hint=f"`olm create NAME` puts them together, with `FROM {path}` in its Modelfile",
        )
