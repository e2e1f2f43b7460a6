"""Signatures that the daemon tells of, held against keys here.

Kept ones are taken first, so that a check works without a network; only if none of them fits, the
registry is asked for newer ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import signatures
from olmkit.engine.errors import ApiError
from olmkit.registry.errors import NotTrusted
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import evidence as evidences
from olmkit.registry.signatures.evidence import Evidence
from olmkit.registry.signatures.policy import Action, Rule
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
    said = signatures(client, model, insecure=insecure, fresh=fresh)
    reference = Reference.parse(str(said.get("model", "")))
    rule, evidence = rule_for(reference), _evidence(said, model)
    is_stored = said.get("stored") is True
    try:
        signer = rule.require(reference, evidence)
    except NotTrusted as refused:
        if rule.action is not Action.SIGNED or not is_stored:
            raise
        if not fresh:
            evidence = _with_newer(client, model, evidence, refused, insecure=insecure)
        signer = _required(rule, reference, evidence, said)
    return Vouched(
        model=reference.short, digest=str(evidence.digest), is_stored=is_stored, signer=signer
    )


def _with_newer(
    client: Client, model: str, kept: Evidence, refused: NotTrusted, *, insecure: bool
) -> Evidence:
    """What is kept, and what the registry has.

    Raises:
        NotTrusted: the registry cannot be asked; it is refused by what is kept then.
    """
    try:
        newer = _evidence(signatures(client, model, insecure=insecure, fresh=True), model)
    except ApiError as error:
        hint = f"its registry may have newer signatures, but: {error}"
        raise NotTrusted(str(refused), hint=hint) from error
    signed = (*newer.signatures, *kept.signatures)
    return replace(newer, signatures=signed, chain=newer.chain or kept.chain)


def _required(
    rule: Rule, reference: Reference, evidence: Evidence, said: Mapping[str, object]
) -> PublicKey | None:
    try:
        return rule.require(reference, evidence)
    except NotTrusted as error:
        pushed = str(said.get("pushed") or "")
        if not pushed:
            raise
        hint = f"its registry has it in another format, {pushed[:19]}: pull that to check it"
        raise NotTrusted(str(error), hint=hint) from error


def _evidence(said: Mapping[str, object], model: str) -> Evidence:
    try:
        return evidences.from_json(said)
    except ValueError as error:
        raise NotTrusted(f"the daemon tells nothing of signatures of {model}: {error}") from error
