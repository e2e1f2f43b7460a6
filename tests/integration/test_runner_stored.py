"""Prompts on disk: they come back after the runner's end, and nothing else does."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.models import tiny_chat
from support.randommodel import write_llama, write_window
from support.runner import RunnerClient, loaded_runner


def text(start: int, count: int = 360) -> list[int]:
    """Tokens that differ from those of another start from the first one on."""
    return [3 + (start + place * place) % 250 for place in range(count)]


PROMPT = text(0)
BUDGET_BYTES = 64 << 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, for tests that only count."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@contextmanager
def keeping(model: Path, store: Path, **options: object) -> Iterator[RunnerClient]:
    """A runner that keeps prompts in a directory."""
    fields = {"sequences": 1, "context_tokens": 512, "prompt_store_bytes": BUDGET_BYTES} | options
    with loaded_runner(model, prompt_store=str(store), **fields) as client:
        yield client


def kept(store: Path) -> list[Path]:
    return sorted(store.glob("*/*.prompt"))


def cached_tokens(model: Path, store: Path, prompt: list[int], **options: object) -> int:
    with keeping(model, store, **options) as client:
        return client.complete(prompt, max_tokens=1).end.cached_tokens


@pytest.mark.parametrize("kind", ["real vocabulary", "sliding window"])
def test_a_prompt_comes_back_after_the_runners_end_with_the_same_answer(
    kind: str, tmp_path: Path
) -> None:
    has_window = kind == "sliding window"
    path = write_window(tmp_path / "window.gguf") if has_window else tiny_chat()
    with keeping(path, tmp_path, context_tokens=2048) as client:
        prompt = client.tokenize(" red, green, blue, black, white, orange, purple, yellow," * 20)
        assert len(prompt) > (512 if has_window else 256)
        first = client.complete(prompt, max_tokens=1)
        again = client.complete(prompt, max_tokens=8, draft_tokens=0)
    with keeping(path, tmp_path, context_tokens=2048) as client:
        later = client.complete(prompt, max_tokens=8, draft_tokens=0)
    assert first.end.cached_tokens == 0
    assert later.end.cached_tokens == again.end.cached_tokens == len(prompt) - 1
    assert later.tokens == again.tokens


def test_what_memory_has_no_room_for_goes_to_disk(tiny: Path, tmp_path: Path) -> None:
    with keeping(tiny, tmp_path, prompt_cache_bytes=800_000) as client:
        for start in (40, 41, 42, 43):
            client.complete(text(start, 300), max_tokens=1)
        assert client.complete(text(40, 300), max_tokens=1).end.cached_tokens == 299


def test_files_are_private_and_tell_nothing_by_their_names(tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cached_tokens(tiny, store, PROMPT)
    (file,) = kept(store)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert set(file.stem + file.parent.name) <= set("0123456789abcdef")


@pytest.mark.parametrize("damage", ["a bit", "the end", "the header", "foreign", "open to all"])
def test_what_is_not_as_it_was_written_is_not_used_and_goes(
    tiny: Path, tmp_path: Path, damage: str
) -> None:
    cached_tokens(tiny, tmp_path, PROMPT)
    (file,) = kept(tmp_path)
    raw = bytearray(file.read_bytes())
    raw[-1000 if damage == "a bit" else 3] ^= damage in ("a bit", "the header")
    content = {"the end": bytes(raw[:-9]), "foreign": b"something else"}.get(damage, bytes(raw))
    file.write_bytes(content)
    if damage == "open to all":
        file.chmod(0o644)
    assert cached_tokens(tiny, tmp_path, [*PROMPT, 7]) == 0
    assert file not in kept(tmp_path)


@pytest.mark.parametrize("change", ["other weights", "q8_0"])
def test_a_state_of_another_kind_is_not_looked_at(tiny: Path, tmp_path: Path, change: str) -> None:
    store = tmp_path / "store"
    cached_tokens(tiny, store, PROMPT)
    if change == "q8_0":
        options = {"kv_cache_type": "q8_0", "flash_attention": True}
        assert cached_tokens(tiny, store, PROMPT, **options) == 0
    else:
        assert cached_tokens(write_llama(tmp_path / "other.gguf"), store, PROMPT) == 0


def test_a_longer_text_takes_the_place_of_its_beginning(tiny: Path, tmp_path: Path) -> None:
    cached_tokens(tiny, tmp_path, PROMPT)
    assert cached_tokens(tiny, tmp_path, [*PROMPT, 7, 8]) == len(PROMPT)
    assert len(kept(tmp_path)) == 1
    assert cached_tokens(tiny, tmp_path, PROMPT) == len(PROMPT) - 1


def test_the_budget_holds_and_the_oldest_goes(tiny: Path, tmp_path: Path) -> None:
    cached_tokens(tiny, tmp_path, PROMPT)
    (first,) = kept(tmp_path)
    os.utime(first, (1, 1))
    budget = int(2.5 * first.stat().st_size)
    for start in (60, 80):
        cached_tokens(tiny, tmp_path, text(start, 350), prompt_store_bytes=budget)
    assert first not in kept(tmp_path)
    assert sum(file.stat().st_size for file in kept(tmp_path)) <= budget


def test_short_prompts_and_a_budget_of_nothing_leave_nothing(tiny: Path, tmp_path: Path) -> None:
    cached_tokens(tiny, tmp_path, PROMPT[:100])
    cached_tokens(tiny, tmp_path, PROMPT, prompt_store_bytes=0)
    assert list(tmp_path.iterdir()) == []
