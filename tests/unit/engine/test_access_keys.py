"""Keys as they are kept, what they are good for, and how often."""

import asyncio
import base64
import os
import stat
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from olmkit.engine.access.caller import Caller, enter
from olmkit.engine.access.doorkeeper import Doorkeeper
from olmkit.engine.access.keyfile import KeyFile, find_key, new_key
from olmkit.engine.access.modelpatterns import matches, parse_pattern
from olmkit.engine.access.rates import Bucket, parse_rate
from olmkit.engine.access.scopes import Need, Scope
from olmkit.engine.api.openai.responsestore import ResponseStore, StoredResponse
from olmkit.engine.errors import (
    KeyForbids,
    KeyRequired,
    KeysUnusable,
    RateExceeded,
    ResponseNotStored,
)
from olmkit.registry.oci.reference import Reference


def make(
    home: Path,
    name: str = "ann",
    *scopes: Scope,
    models: tuple[str, ...] | None = None,
    rate: str = "",
) -> str:
    """The secret of a new key in the home."""
    key, secret = new_key(
        name,
        scopes=scopes or (Scope.INFER,),
        models=models,
        rate=parse_rate(rate) if rate else None,
    )
    KeyFile(home).add(key)
    return secret


def test_a_key_is_kept_as_its_hash_for_its_user_alone(tmp_path: Path) -> None:
    secret = make(tmp_path, models=("qwen*",), rate="60/min")
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    (key,) = KeyFile(tmp_path).read()
    assert (key.name, key.scopes, key.models) == ("ann", (Scope.INFER,), ("qwen*",))
    assert str(key.rate) == "60/min"
    assert secret.startswith(key.begins)
    assert find_key((key,), secret) == key
    assert find_key((key,), secret[:-1]) is None
    assert sorted(os.listdir(tmp_path)) == ["keys.json", "keys.lock"]


@pytest.mark.parametrize("name", ["", "a b", "-x", "a" * 65, "a\n", "é", "../x"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a key"):
        new_key(name, scopes=(Scope.INFER,), models=None, rate=None)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match="already"):
        make(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"keys": [{}]}', '{"keys": 7}', '{"keys": [1]}', "[" * 100_000]
)
def test_a_file_that_is_none_of_ours_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    door = doorkeeper(tmp_path)
    with pytest.raises(KeysUnusable):
        door.admit(Need.LIST, {}, is_private=False)


def test_uses_are_kept_for_keys_that_there_are(tmp_path: Path) -> None:
    make(tmp_path)
    file = KeyFile(tmp_path)
    (key,) = file.read()
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    file.note_uses({key.sha256: now, "0" * 64: now})
    assert file.uses() == {key.sha256: now}
    (tmp_path / "keys-used.json").write_text("no JSON")
    assert file.uses() == {}


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("qwen3", "qwen3", True),
        ("qwen3", "qwen3:8b", True),
        ("qwen3", "qwen3x", False),
        ("qwen3:8b", "qwen3:8b", True),
        ("qwen3:8b", "qwen3", False),
        ("qwen*", "qwen2.5:0.5b", True),
        ("QWEN*", "qwen3", True),
        ("*", "hf.co/a/b:q4", True),
        ("hf.co/a/*", "hf.co/a/b:q4", True),
        ("hf.co/a/*", "hf.co/ab/b:q4", False),
        ("team/*:latest", "team/x", True),
        ("registry.ollama.ai/library/qwen3", "qwen3", True),
        ("q.en3", "qwen3", False),
    ],
)
def test_patterns_cover_names(pattern: str, name: str, fits: bool) -> None:
    assert matches((parse_pattern(pattern),), Reference.parse(name)) is fits


def test_a_rate_lets_through_its_number_and_then_one_at_a_time() -> None:
    bucket = Bucket(parse_rate("3/min"), now_s=100)
    assert [bucket.take(100) for _ in range(4)] == [0, 0, 0, 20]
    assert bucket.take(119) == 1
    assert bucket.take(121) == 0
    assert bucket.take(1e6) == 0


@pytest.mark.parametrize("text", ["", "60", "60/year", "0/min", "-1/min", "1.5/s", "60/min/h"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate(text)


def doorkeeper(home: Path, *, is_exposed: bool = False) -> Doorkeeper:
    return Doorkeeper(KeyFile(home), is_exposed=is_exposed)


def test_without_keys_loopback_is_open_and_other_addresses_are_not(tmp_path: Path) -> None:
    sent = {"authorization": "Bearer whatever-an-sdk-sends"}
    assert doorkeeper(tmp_path).admit(Need.MANAGE, sent, is_private=False).name == ""
    with pytest.raises(KeyRequired):
        doorkeeper(tmp_path, is_exposed=True).admit(Need.LIST, sent, is_private=False)


def test_a_new_key_and_a_revoked_one_count_at_once(tmp_path: Path) -> None:
    door = doorkeeper(tmp_path)
    assert door.admit(Need.INFER, {}, is_private=False).name == ""
    sent = {"authorization": f"Bearer {make(tmp_path)}"}
    with pytest.raises(KeyRequired, match="a key is required"):
        door.admit(Need.INFER, {}, is_private=False)
    assert door.admit(Need.INFER, sent, is_private=False).name == "ann"
    assert door.admit(Need.MANAGE, {}, is_private=True).name == ""
    assert door.admit(Need.NOTHING, {}, is_private=False).name == ""
    make(tmp_path, "bob")
    KeyFile(tmp_path).remove("ann")
    with pytest.raises(KeyRequired, match="not known"):
        door.admit(Need.INFER, sent, is_private=False)


def test_every_way_in_which_clients_send_keys(tmp_path: Path) -> None:
    secret = make(tmp_path)
    door = doorkeeper(tmp_path)
    as_user = base64.b64encode(f"{secret}:".encode()).decode()
    as_password = base64.b64encode(f"any:{secret}".encode()).decode()
    for sent in (
        {"authorization": f"Bearer {secret}"},
        {"authorization": f"bearer  {secret} "},
        {"authorization": f"Basic {as_user}"},
        {"authorization": f"Basic {as_password}"},
        {"x-api-key": secret},
        {"api-key": secret},
    ):
        assert door.admit(Need.INFER, sent, is_private=False).name == "ann"
    for sent in (
        {"authorization": secret},
        {"authorization": "Bearer"},
        {"authorization": "Basic %%%"},
        {"authorization": f"Bearer {secret}x"},
        {"cookie": secret},
    ):
        with pytest.raises(KeyRequired):
            door.admit(Need.INFER, sent, is_private=False)


SCOPES = {
    Scope.INFER: {Need.NOTHING, Need.LIST, Need.INFER},
    Scope.READ: {Need.NOTHING, Need.LIST, Need.READ},
    Scope.MANAGE: set(Need),
}


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_is_good_for_its_routes_and_no_others(tmp_path: Path, scope: Scope) -> None:
    sent = {"authorization": f"Bearer {make(tmp_path, 'ann', scope)}"}
    door = doorkeeper(tmp_path)
    for need in Need:
        if need in SCOPES[scope]:
            door.admit(need, sent, is_private=False)
        else:
            with pytest.raises(KeyForbids, match="is not good for this"):
                door.admit(need, sent, is_private=False)


def test_a_rate_holds_for_answers_alone(tmp_path: Path) -> None:
    sent = {"authorization": f"Bearer {make(tmp_path, rate='1/h')}"}
    door = doorkeeper(tmp_path)
    door.admit(Need.INFER, sent, is_private=False)
    with pytest.raises(RateExceeded) as caught:
        door.admit(Need.INFER, sent, is_private=False)
    assert caught.value.key == "ann"
    door.admit(Need.LIST, sent, is_private=False)


def test_a_use_is_written_down(tmp_path: Path) -> None:
    async def main() -> None:
        door = doorkeeper(tmp_path)
        sent = {"authorization": f"Bearer {make(tmp_path)}"}
        door.admit(Need.LIST, sent, is_private=False)
        await door.write_uses()

    asyncio.run(main())
    (key,) = KeyFile(tmp_path).read()
    assert list(KeyFile(tmp_path).uses()) == [key.sha256]
    assert stat.S_IMODE((tmp_path / "keys-used.json").stat().st_mode) == 0o600


def test_a_stored_response_is_for_the_key_that_it_was_made_with() -> None:
    store = ResponseStore(limit=2)

    def as_key(name: str, work: Callable[[], object]) -> object:
        def run() -> object:
            enter(Caller(name=name))
            return work()

        return copy_context().run(run)

    def keep() -> None:
        store.put(StoredResponse(response={"id": "resp_1", "output": []}, input=()))

    as_key("ann", keep)
    for name in ("bob", ""):
        for work in (store.get, store.remove):
            with pytest.raises(ResponseNotStored):
                as_key(name, partial(work, "resp_1"))
    as_key("ann", partial(store.remove, "resp_1"))
