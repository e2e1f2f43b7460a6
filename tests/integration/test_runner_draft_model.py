"""A draft model guesses, the model checks: the same answers, whatever the draft model is worth.

SmolLM2 guesses for itself, so that its guesses are right, and a random model for another, so that
they are wrong.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner.protocol import Constraint, ConstraintKind, LoadOperation, Sampling
from support.models import smollm2
from support.randommodel import write_llama, write_mamba
from support.runner import RunnerClient, RunnerFailure

STORY = "The old lighthouse keeper looked over the grey sea and"
COUNT = "1 2 3 4 5 6 7 8 9 10 11 12"
"""A text that goes on in one way only, without repeating itself."""
RECIPE = "To bake a good loaf of bread you first of all need"


@pytest.fixture(scope="module")
def client() -> Iterator[RunnerClient]:
    """SmolLM2 with itself as its draft, the prompts in its cache."""
    with RunnerClient() as client:
        assert client.load(smollm2(), draft=smollm2(), sequences=2).notes == []
        for text in (STORY, COUNT, RECIPE):
            client.complete(text, max_tokens=1)
        yield client


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("random") / "model.gguf", layers=2)


@pytest.fixture(scope="module")
def random_draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("random") / "draft.gguf", layers=1, width=64)


def test_a_draft_model_that_is_right_leaves_the_bytes_and_takes_fewer_steps(
    client: RunnerClient,
) -> None:
    plain = client.complete(COUNT, max_tokens=32, draft_tokens=0)
    before = client.health().steps
    drafted = client.complete(COUNT, max_tokens=32)
    steps = client.health().steps - before
    assert drafted.tokens == plain.tokens
    assert drafted.text == plain.text
    assert drafted.end.drafted_tokens > 8
    assert drafted.end.accepted_tokens > 0.9 * drafted.end.drafted_tokens
    assert steps <= 32 - drafted.end.accepted_tokens + 1


def test_tokens_of_a_seed_are_those_without_a_draft_model(client: RunnerClient) -> None:
    drafted_tokens = 0
    for seed in range(3):
        sampling = Sampling(temperature=1.0, seed=seed, xtc_probability=0.2, mirostat=seed)
        fields = {"sampling": sampling, "max_tokens": 20}
        plain = client.complete(STORY, draft_tokens=0, **fields)
        drafted = client.complete(STORY, **fields)
        assert drafted.tokens == plain.tokens
        drafted_tokens += drafted.end.drafted_tokens
    assert drafted_tokens


def test_a_draft_is_never_longer_than_was_asked_for(client: RunnerClient) -> None:
    one = client.complete(RECIPE, max_tokens=24, draft_tokens=1)
    none = client.complete(RECIPE, max_tokens=24, draft_tokens=0)
    assert one.tokens == none.tokens
    assert none.end.drafted_tokens == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 3},
        {"max_tokens": 24, "stop": ["the"]},
        {"max_tokens": 24, "constraint": Constraint(kind=ConstraintKind.REGEX, text="[a-z ]{30}")},
        {"max_tokens": 60, "context_tokens": 32},
        {"max_tokens": 24, "reproducible": True},
    ],
    ids=lambda fields: list(fields)[-1],
)
def test_answers_end_where_they_end_without(
    client: RunnerClient, fields: dict[str, object]
) -> None:
    plain = client.complete(RECIPE, draft_tokens=0, **fields)
    drafted = client.complete(RECIPE, **fields)
    assert drafted.tokens == plain.tokens
    assert (drafted.text, drafted.end.reason) == (plain.text, plain.end.reason)


def test_a_context_that_shifts_is_drafted_on(client: RunnerClient) -> None:
    answer = client.complete(RECIPE, max_tokens=50, shift=True, context_tokens=40)
    assert answer.end.shifted_tokens
    assert answer.end.completion_tokens == 50


def test_requests_beside_each_other_share_the_draft_model(client: RunnerClient) -> None:
    beside = client.complete_all([STORY, RECIPE], max_tokens=24)
    assert all(one.end.completion_tokens == 24 for one in beside)


def test_a_draft_model_that_is_wrong_changes_nothing(
    random_model: Path, random_draft: Path
) -> None:
    prompt = list(range(3, 40))
    with RunnerClient() as client:
        client.load(random_model, draft=random_draft, context_tokens=256)
        client.complete(prompt, max_tokens=1)
        plain = client.complete(prompt, max_tokens=120, draft_tokens=0, ignore_eos=True)
        drafted = client.complete(prompt, max_tokens=120, ignore_eos=True)
        hot = Sampling(temperature=1.0, seed=5)
        rolled = [
            client.complete(
                prompt, max_tokens=60, draft_tokens=one, ignore_eos=True, sampling=hot
            ).tokens
            for one in (0, -1)
        ]
    assert drafted.tokens == plain.tokens
    assert rolled[0] == rolled[1]
    assert drafted.end.accepted_tokens <= drafted.end.drafted_tokens


def test_a_draft_takes_memory_that_a_dry_run_tells(random_model: Path, random_draft: Path) -> None:
    def taken(operation: LoadOperation, draft: Path | None) -> tuple[int, int]:
        with RunnerClient() as client:
            loaded = client.load(random_model, draft=draft, operation=operation, use_mmap=False)
        return (
            sum(one.weights_bytes for one in loaded.buffers),
            sum(one.kv_bytes for one in loaded.buffers),
        )

    alone = taken(LoadOperation.COMMIT, None)
    both = taken(LoadOperation.COMMIT, random_draft)
    assert both[0] > alone[0]
    assert both[1] > alone[1]
    assert taken(LoadOperation.FIT, random_draft) == both


def test_a_draft_of_no_use_is_left_out_and_told(
    random_model: Path, random_draft: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(random_draft.read_bytes()[:2000])
    for draft, says in (
        (smollm2(), "its vocabulary has 49152 tokens, that of the model 259"),
        (write_mamba(tmp_path / "mamba.gguf"), "its state cannot go back behind a wrong guess"),
        (broken, "the file's GGUF header is truncated or corrupt"),
    ):
        with RunnerClient() as client:
            (note,) = client.load(random_model, draft=draft, context_tokens=256).notes
            assert note.startswith(f"the draft model is not used: {says}")
            assert client.complete([3, 4, 5], max_tokens=4, ignore_eos=True).tokens


def test_a_model_that_cannot_be_loaded_fails_with_its_own_reason(
    random_draft: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.gguf"
    with RunnerClient() as client, pytest.raises(RunnerFailure, match=r"none\.gguf cannot be read"):
        client.load(missing, draft=random_draft)
