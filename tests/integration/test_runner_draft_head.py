"""The head of a model's own file guesses, the model checks: the same answers, whatever the head is
worth.

Of one made model the head always agrees with the model, of another now and then, of a third never.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.engine.gguf.draftheads import has_usable_head
from olmkit.engine.gguf.header import read_header
from olmkit.engine.planning.footprint import plan_memory
from olmkit.engine.runner.protocol import (
    Completed,
    Constraint,
    ConstraintKind,
    Load,
    Loaded,
    LoadOperation,
    LoadOptions,
    ModelFiles,
    Piece,
    Sampling,
    UnreadVocabulary,
)
from support.headmodels import SHAPES, write_head
from support.models import smollm2
from support.randommodel import VOCABULARY, write_llama
from support.runner import RunnerClient

AGREEING, TORN, OPPOSED = 0.0, 0.12, 1.0
"""What the layers of the model say beside what the head knows."""
LATIN = list(range(68, 100))
GREEK = list(range(140, 180))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    folder = tmp_path_factory.mktemp("heads")
    return {
        noise: write_head(folder / f"{noise}.gguf", noise=noise)
        for noise in (AGREEING, TORN, OPPOSED)
    }


@pytest.fixture(scope="module", params=[AGREEING, TORN, OPPOSED])
def client(models: dict[float, Path], request: pytest.FixtureRequest) -> Iterator[RunnerClient]:
    """One of the models with its head, the prompts in its cache."""
    with RunnerClient() as client:
        loaded = client.load(models[request.param], head=True, sequences=4, context_tokens=512)
        assert loaded.notes == []
        for prompt in (LATIN, GREEK):
            client.complete(prompt, max_tokens=1)
        yield client


@pytest.fixture
def agreeing(models: dict[float, Path]) -> Iterator[RunnerClient]:
    with RunnerClient() as client:
        client.load(models[AGREEING], head=True, sequences=2, context_tokens=512)
        yield client


def test_a_head_that_is_right_leaves_the_bytes_and_takes_fewer_steps(
    agreeing: RunnerClient,
) -> None:
    plain = agreeing.complete(LATIN, max_tokens=120, draft_tokens=0, ignore_eos=True)
    before = agreeing.health().steps
    drafted = agreeing.complete(LATIN, max_tokens=120, ignore_eos=True)
    steps = agreeing.health().steps - before
    assert drafted.tokens == plain.tokens == list(range(100, 220))
    assert drafted.end.accepted_tokens == drafted.end.drafted_tokens > 16
    assert steps <= 120 - drafted.end.accepted_tokens + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 150},
        {"max_tokens": 3},
        {"max_tokens": 40, "stop": ["~"]},
        {"max_tokens": 40, "constraint": Constraint(kind=ConstraintKind.REGEX, text="[a-z]{9}")},
        {"max_tokens": 90, "context_tokens": 96},
        {"max_tokens": 40, "draft_tokens": 1},
        {"max_tokens": 40, "top_logprobs": 2},
        {"max_tokens": 24, "reproducible": True},
        {"max_tokens": 90, "sampling": Sampling(temperature=1.0, seed=3, repeat_penalty=1.1)},
        {"max_tokens": 90, "sampling": Sampling(temperature=1.5, seed=4, mirostat=2)},
    ],
    ids=lambda fields: list(fields)[-1],
)
@pytest.mark.parametrize("prompt", [LATIN, GREEK], ids=["latin", "greek"])
def test_answers_are_those_without_a_head(
    client: RunnerClient, prompt: list[int], fields: dict[str, object]
) -> None:
    plain = client.complete(prompt, **{**fields, "draft_tokens": 0})
    drafted = client.complete(prompt, **fields)
    assert drafted.tokens == plain.tokens
    assert (drafted.text, drafted.end.reason) == (plain.text, plain.end.reason)
    assert plain.end.drafted_tokens == 0


def test_a_head_that_is_sometimes_wrong_is_taken_back(models: dict[float, Path]) -> None:
    with RunnerClient() as client:
        client.load(models[TORN], head=True, context_tokens=512)
        client.complete(LATIN, max_tokens=1)
        plain = client.complete(LATIN, max_tokens=200, draft_tokens=0, ignore_eos=True)
        drafted = client.complete(LATIN, max_tokens=200, ignore_eos=True)
    assert drafted.tokens == plain.tokens
    assert 0 < drafted.end.accepted_tokens < drafted.end.drafted_tokens


def test_a_head_is_given_the_state_of_the_token_before(tmp_path: Path) -> None:
    path = write_head(tmp_path / "model.gguf", looks_at_states=True)
    for most in (1, -1):
        with RunnerClient() as client:
            client.load(path, head=True, context_tokens=512)
            drafted = client.complete(LATIN, max_tokens=120, draft_tokens=most, ignore_eos=True)
        assert drafted.tokens == list(range(100, 220))
        assert drafted.end.accepted_tokens > 0
        assert (drafted.end.accepted_tokens < drafted.end.drafted_tokens) is (most < 0)


def test_requests_beside_each_other_are_drafted_together(agreeing: RunnerClient) -> None:
    prompts = {agreeing.start(one, max_tokens=60, ignore_eos=True): one for one in (LATIN, GREEK)}
    found = agreeing.replies(*prompts)
    for request_id, prompt in prompts.items():
        pieces = [one for one in found[request_id] if isinstance(one, Piece)]
        tokens = [token for piece in pieces for token in piece.tokens]
        assert tokens == [(prompt[-1] + 1 + ahead - 3) % 256 + 3 for ahead in range(60)]
        (end,) = [one for one in found[request_id] if isinstance(one, Completed)]
        assert end.accepted_tokens > 0


def test_a_request_that_is_cancelled_leaves_the_other_as_it_is(agreeing: RunnerClient) -> None:
    for _ in range(3):
        going = agreeing.start(LATIN, max_tokens=400, ignore_eos=True)
        staying = agreeing.start(GREEK, max_tokens=70, ignore_eos=True)
        while not isinstance(first := agreeing.next_reply(), Piece) or first.id != going:
            pass
        agreeing.cancel(going)
        pieces = [one for one in agreeing.replies(staying)[staying] if isinstance(one, Piece)]
        tokens = [token for piece in pieces for token in piece.tokens]
        assert tokens == list(range(180, 250))[-len(tokens) :]
        again = agreeing.complete(LATIN, max_tokens=70, ignore_eos=True)
        assert again.tokens == list(range(100, 170))


def test_a_conversation_that_went_away_and_came_back_is_gone_on_with(
    agreeing: RunnerClient,
) -> None:
    first = agreeing.complete(LATIN, max_tokens=40, ignore_eos=True)
    for prompt in (GREEK, list(range(3, 60))):
        agreeing.complete(prompt, max_tokens=40, ignore_eos=True)
    onward = agreeing.complete([*LATIN, *first.tokens], max_tokens=40, ignore_eos=True)
    assert onward.end.cached_tokens
    assert onward.tokens == list(range(140, 180))


def test_a_context_that_shifts_is_drafted_on(client: RunnerClient) -> None:
    answer = client.complete(LATIN, max_tokens=200, shift=True, context_tokens=64, ignore_eos=True)
    assert answer.end.shifted_tokens
    assert answer.end.completion_tokens == 200


def test_a_head_takes_memory_that_a_dry_run_tells(models: dict[float, Path]) -> None:
    def taken(
        operation: LoadOperation, *, head: bool, unread: UnreadVocabulary | None = None
    ) -> tuple[int, int, int]:
        files = ModelFiles(weights_path=str(models[TORN]), has_draft_head=head)
        options = LoadOptions(context_tokens=512, use_mmap=False, threads=1)
        with RunnerClient() as client:
            request = Load(id=1, operation=operation, files=files, options=options, unread=unread)
            loaded = client.call(request, Loaded)
        return (
            sum(one.weights_bytes for one in loaded.buffers),
            sum(one.kv_bytes for one in loaded.buffers),
            sum(one.compute_bytes for one in loaded.buffers),
        )

    alone = taken(LoadOperation.COMMIT, head=False)
    both = taken(LoadOperation.COMMIT, head=True)
    assert all(more > less for more, less in zip(both, alone, strict=True))
    assert taken(LoadOperation.FIT, head=True) == both
    unread = UnreadVocabulary(architecture="glm4moe", tokens=VOCABULARY)
    assert taken(LoadOperation.FIT, head=True, unread=unread) == both
    planned = plan_memory(read_header(models[TORN], name="torn"), LoadOptions(context_tokens=512))
    assert planned.kv_bytes == both[1]
    assert planned.weights_bytes == pytest.approx(both[0], rel=0.001)
    assert planned.compute_bytes >= both[2]


def test_a_draft_model_goes_before_the_head(models: dict[float, Path], tmp_path: Path) -> None:
    draft = write_llama(tmp_path / "draft.gguf", layers=1, width=64)
    with RunnerClient() as client:
        client.load(models[OPPOSED], head=True, draft=draft, context_tokens=256)
        plain = client.complete(LATIN, max_tokens=40, draft_tokens=0, ignore_eos=True)
        assert client.complete(LATIN, max_tokens=40, ignore_eos=True).tokens == plain.tokens


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("architecture", SHAPES)
def test_heads_of_every_kind_that_counts_are_used(
    architecture: str, heads: int, tmp_path: Path
) -> None:
    path = write_head(tmp_path / "model.gguf", architecture=architecture, heads=heads)
    is_usable = has_usable_head(read_header(path))
    assert is_usable or heads > 1
    with RunnerClient() as client:
        client.load(path, head=is_usable, context_tokens=512)
        plain = client.complete(LATIN, max_tokens=90, draft_tokens=0, ignore_eos=True)
        drafted = client.complete(LATIN, max_tokens=90, ignore_eos=True)
    assert drafted.tokens == plain.tokens
    assert (drafted.end.accepted_tokens > 0) is is_usable


def test_a_head_without_all_of_its_parts_does_not_count(models: dict[float, Path]) -> None:
    whole = read_header(models[TORN])
    assert has_usable_head(whole)
    for part in ("nextn.eh_proj", "ffn_gate_inp"):
        kept = tuple(one for one in whole.tensors if part not in one.name)
        assert not has_usable_head(replace(whole, tensors=kept))
    assert not has_usable_head(read_header(smollm2()))
