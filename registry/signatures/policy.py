"""Policies: which models may be fetched, and whose signatures they need.

    version = 1
    default = "deny"

    [[scope]]
    models = ["ghcr.io/team/*"]
    keys = ["team.pub"]

    [[scope]]
    models = ["hf.co/unsloth/*"]
    action = "allow"

The first scope that names a model decides, else `default`. Files of keys are found from the
policy's own folder. docs/trust.md describes all members.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from olmkit.registry.errors import InvalidKey, InvalidPolicy, NotTrusted, StoreError, store_errors
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures.evidence import Evidence, signer_of
from olmkit.registry.signatures.publickeys import PublicKey, parse_pem, read_public_key
from olmkit.registry.signatures.repositories import matches, parse_pattern, repository_name

VERSION: Final = 1
_LIMIT_BYTES: Final = 1 << 20
_SCOPES_LIMIT: Final = 1000
_KEYS_LIMIT: Final = 100


class Action(StrEnum):
    """What becomes of the models of a scope."""

    ALLOW = "allow"
    DENY = "deny"
    SIGNED = "signed"
    """They need a signature by one of the scope's keys; what a scope with keys means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of one model."""

    action: Action
    keys: tuple[PublicKey, ...] = ()
    signed_as: tuple[str, ...] = ()
    """Parsed patterns of names that the model may be signed as; none: its own."""
    origin: str = ""
    """Who asks, for messages: a policy's scope; empty: whoever pulls."""

    def require_possible(self, reference: Reference, *, has_signatures: bool) -> None:
        """Refuse what needs no look at the model.

        `has_signatures`: whether where it comes from can have any.

        Raises:
            NotTrusted: it is denied, or cannot be signed.
        """
        if self.action is Action.DENY:
            raise NotTrusted(f"{reference.short} is forbidden by {self.origin}")
        if self.action is Action.SIGNED and not has_signatures:
            raise NotTrusted(
                f"{reference.short} must be signed, and only models in registries can be"
                + self._by(),
                hint="push it to a registry and sign it there, or allow it by its own scope",
            )

    def require(self, reference: Reference, evidence: Evidence) -> PublicKey | None:
        """The key by which the model is signed; None: it needs none.

        Raises:
            NotTrusted: it is denied, or not signed as asked.
        """
        self.require_possible(reference, has_signatures=True)
        if self.action is Action.ALLOW:
            return None
        try:
            return signer_of(evidence, reference, self.keys, signed_as=self.signed_as)
        except NotTrusted as error:
            raise NotTrusted(f"{error}{self._by()}", hint=error.hint) from error

    def _by(self) -> str:
        return f", says {self.origin}" if self.origin else ""


def signed_by(keys: Sequence[PublicKey], signed_as: Sequence[str] = ()) -> Rule:
    """The rule that one of these keys has signed; `signed_as` as written.

    Raises:
        ValueError: a pattern is none.
    """
    return Rule(
        action=Action.SIGNED, keys=tuple(keys), signed_as=tuple(map(parse_pattern, signed_as))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The scopes of a file, in its order."""

    default: Rule
    scopes: tuple[tuple[tuple[str, ...], Rule], ...]
    """Parsed patterns, and what is asked of the models that they cover."""

    def rule_for(self, reference: Reference) -> Rule:
        """What is asked of a model: the first scope that names it, else the default."""
        repository = repository_name(reference)
        for patterns, rule in self.scopes:
            if any(matches(pattern, repository) for pattern in patterns):
                return rule
        return self.default


def read_policy(path: Path) -> Policy:
    """The policy of a file, with its keys.

    Raises:
        InvalidPolicy: the file or one of its keys cannot be read, or says something that no
            policy says: a policy that is half understood lets nothing in.
    """
    try:
        with store_errors(path, "read"), open(path, "rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
        if len(raw) > _LIMIT_BYTES:
            raise ValueError(f"it is longer than {_LIMIT_BYTES} bytes")
        return parse_policy(tomllib.loads(raw.decode()), path)
    except StoreError as error:
        raise InvalidPolicy(f"the policy cannot be used: {error}") from error
    except (ValueError, InvalidKey, RecursionError) as error:
        raise InvalidPolicy(f"the policy {path} cannot be used: {error}") from error


def parse_policy(table: Mapping[str, Any], path: Path) -> Policy:
    """The policy that a table says; `path` is where keys are found from.

    Raises:
        ValueError: a member is unknown, missing or of the wrong kind.
        InvalidKey, StoreError: a key cannot be read.
    """
    _require_known(table, ("version", "default", "scope"), "the policy")
    if table.get("version") != VERSION:
        raise ValueError(f"version {table.get('version')!r} is not {VERSION}")
    default = table.get("default")
    if default not in (Action.ALLOW, Action.DENY):
        raise ValueError('default must be "allow" or "deny"')
    scopes = table.get("scope", [])
    if not isinstance(scopes, list) or len(scopes) > _SCOPES_LIMIT:
        raise ValueError(f"scope must be written [[scope]], at most {_SCOPES_LIMIT} times")
    return Policy(
        default=Rule(action=Action(default), origin=f"the default of {path}"),
        scopes=tuple(_scope(one, number, path) for number, one in enumerate(scopes, start=1)),
    )


def _scope(table: Any, number: int, path: Path) -> tuple[tuple[str, ...], Rule]:
    where = f"scope {number}"
    if not isinstance(table, dict):
        raise ValueError(f"{where} is no table")
    _require_known(table, ("models", "action", "keys", "signed_as"), where)
    models = _texts(table, "models", where)
    keys = _texts(table, "keys", where)
    signed_as = _texts(table, "signed_as", where)
    action = table.get("action", Action.SIGNED)
    if action not in list(Action):
        raise ValueError(f'{where}: action must be "allow", "deny" or "signed"')
    if not models:
        raise ValueError(f"{where} names no models")
    if (action == Action.SIGNED) != bool(keys) or (signed_as and not keys):
        raise ValueError(f"{where} needs keys, or an action that needs none")
    if len(keys) > _KEYS_LIMIT:
        raise ValueError(f"{where} has {len(keys)} keys, more than {_KEYS_LIMIT} are refused")
    rule = Rule(
        action=Action(action),
        keys=tuple(_key(text, path) for text in keys),
        signed_as=tuple(map(parse_pattern, signed_as)),
        origin=f"{where} of {path}",
    )
    return tuple(map(parse_pattern, models)), rule


def _key(text: str, path: Path) -> PublicKey:
    """A key of a file, or one that is written out in PEM."""
    if text.lstrip().startswith("-----BEGIN"):
        return parse_pem(text.encode(), "a key of the policy")
    return read_public_key(path.parent / text)


def _texts(table: Mapping[str, Any], name: str, where: str) -> list[str]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{where}: {name} must be a list of texts")
    return value


def _require_known(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in table:
        if name not in known:
            raise ValueError(f"{where} has the unknown member {name[:80]!r}")
