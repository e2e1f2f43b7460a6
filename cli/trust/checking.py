"""Signatures that the daemon tells of, held against keys here.

Kept ones are taken first, so that a check works without a network; only if none of them fits, the
registry is asked for newer ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import signatures
from olmkit.engine.errors import ApiError
from olmkit.registry.errors import NotTrusted
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import evidence as evidences
from olmkit.registry.signatures.policy import Rule
from olmkit.registry.signatures.publickeys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """A model that is as it was asked for."""

    model: str
    digest: str
    is_stored: bool
    signer: PublicKey | None
    """None: no signature was asked for."""


def require_vouched(
    client: Client,
    model: str,
    rule_for: Callable[[Reference], Rule],
    *,
    insecure: bool = False,
    fresh: bool = False,
) -> Vouched:
    """The model with the key that signed it, if that is as the rule asks.

    `fresh`: kept signatures do not count.

    Raises:
        NotTrusted: it is not.
        ApiError: there is no such model, or its registry cannot be asked.
    """
    try:
        return _vouched(client, model, rule_for, insecure=insecure, fresh=fresh)
    except NotTrusted as refused:
        if fresh:
            raise
        try:
            return _vouched(client, model, rule_for, insecure=insecure, fresh=True)
        except ApiError:
            raise refused from None


def _vouched(
    client: Client,
    model: str,
    rule_for: Callable[[Reference], Rule],
    *,
    insecure: bool,
    fresh: bool,
) -> Vouched:
    said = signatures(client, model, insecure=insecure, fresh=fresh)
    name = str(said.get("model", ""))
    reference = Reference.parse(name)
    try:
        evidence = evidences.from_json(said)
    except ValueError as error:
        raise NotTrusted(f"the daemon tells nothing of signatures of {model}: {error}") from error
    signer = rule_for(reference).require(reference, evidence)
    return Vouched(
        model=name,
        digest=str(evidence.digest),
        is_stored=said.get("stored") is True,
        signer=signer,
    )
