"""The flags that ask for signatures, with one meaning and one text, and what they ask."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.typedpaths import typed_status

if TYPE_CHECKING:  # cryptography, which comes with the first key
    from olmkit.registry.signatures.policy import Rule
    from olmkit.registry.signatures.publickeys import PublicKey

Keys = Annotated[
    list[str] | None,
    Option(
        "--key",
        metavar="FILE",
        help="A public key, such as cosign.pub, that must have signed the model; several: one of "
        "them.",
    ),
]
SignedAs = Annotated[
    list[str] | None,
    Option(
        "--signed-as",
        metavar="PATTERN",
        help="With --key: names it may be signed as, such as ghcr.io/team/*, instead of its own.",
    ),
]


def public_keys(files: Sequence[str] | None) -> "list[PublicKey]":
    """The keys of the files.

    Raises:
        NotFound: a file is not there.
        InvalidKey: it holds no public key.
    """
    if not files:
        return []
    from olmkit.registry.signatures.publickeys import read_public_key

    for file in files:
        require_file(file)
    return [read_public_key(Path(file)) for file in files]


def rule_of(files: Sequence[str] | None, signed_as: Sequence[str] | None) -> "Rule | None":
    """What `--key` and `--signed-as` ask; None: nothing.

    Raises:
        UsageError: there are names and no key, or a name is no pattern.
        NotFound, InvalidKey: as `public_keys`.
    """
    if not files:
        if signed_as:
            raise UsageError("--signed-as is a flag to --key")
        return None
    from olmkit.registry.signatures.policy import signed_by

    try:
        return signed_by(public_keys(files), signed_as or ())
    except ValueError as error:
        raise UsageError(str(error)) from error


def require_file(file: str) -> None:
    """Nothing, if the file is there. Raises: NotFound."""
    if typed_status(Path(file)) is None:
        raise NotFound(f"there is no file {file}")
