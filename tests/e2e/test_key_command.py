"""`olm key`: what it prints, where, and what it refuses. No daemon is needed."""

import json
import os
import stat
from pathlib import Path

import pytest

from support.olm import olm, out


@pytest.fixture
def environ(olm_home: Path) -> dict[str, str]:
    return {"OLM_HOME": str(olm_home), "OLM_HOST": "127.0.0.1:1"}


def test_a_key_is_printed_once_and_listed_without_its_secret(
    environ: dict[str, str], olm_home: Path
) -> None:
    made = olm(
        environ,
        *("key", "create", "ci", "--scope", "infer", "--scope", "read"),
        *("--models", "qwen*", "--models", "team/*", "--rate", "60/min"),
    )
    secret = out(made).strip()
    assert secret.startswith("olm_")
    assert len(secret) > 40
    assert made.stderr == b"keep it: it is not shown again\n"
    assert stat.S_IMODE(os.stat(olm_home / "keys.json").st_mode) == 0o600

    header, row = out(olm(environ, "key", "list")).splitlines()
    assert header.split() == ["NAME", "KEY", "SCOPE", "MODELS", "RATE", "CREATED", "LAST", "USED"]
    assert row.split()[:5] == ["ci", f"{secret[:8]}...", "infer,read", "qwen*,team/*", "60/min"]
    assert row.rstrip().endswith("Never")
    (entry,) = map(json.loads, out(olm(environ, "key", "list", "--format", "json")).splitlines())
    created_at = entry.pop("created_at")
    assert created_at
    assert entry == {
        "name": "ci",
        "begins": secret[:8],
        "scopes": ["infer", "read"],
        "models": ["qwen*", "team/*"],
        "rate": "60/min",
        "last_used_at": None,
    }

    revoked = olm(environ, "key", "revoke", "ci")
    assert out(revoked) == ""
    assert b"no key is left" in revoked.stderr
    assert olm(environ, "key", "revoke", "ci").returncode == 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("create",), "'olm key create' requires a name"),
        (("list", "x"), "'olm key list' accepts no name"),
        (("create", "a b"), "is no name of a key"),
        (("create", "a", "--scope", "root"), "invalid value for --scope"),
        (("create", "a", "--rate", "fast"), "'fast' is no rate such as 60/min"),
        (("create", "a", "--models", "a b"), "is no pattern of model names"),
        (("revoke", "a", "--rate", "1/s"), "are flags of `olm key create`"),
        (("create", "a", "--format", "{{.Name}}"), "are flags of `olm key list`"),
        (("destroy",), "invalid value for"),
    ],
)
def test_wrong_words_are_told_and_make_no_key(
    environ: dict[str, str], olm_home: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = olm(environ, "key", *words)
    assert done.returncode == 2
    assert complaint in done.stderr.decode()
    assert not (olm_home / "keys.json").exists()


def test_a_name_is_taken_once(environ: dict[str, str]) -> None:
    assert olm(environ, "key", "create", "a").returncode == 0
    again = olm(environ, "key", "create", "a")
    assert again.returncode == 2
    assert b"there is a key named a already" in again.stderr


def test_keys_of_another_machine_are_made_there(environ: dict[str, str]) -> None:
    done = olm(environ | {"OLM_HOST": "https://models.example.com"}, "key", "list")
    assert done.returncode == 2
    assert b"keys are made on the machine of the daemon" in done.stderr
