"""Loading: what is reported, what it takes, and how bad files and options are told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from olmkit.engine.gguf.header import read_header
from olmkit.engine.kvcachetypes import KV_CACHE_TYPES
from olmkit.engine.planning.modelcosts import as_loaded
from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.layouts import Layout
from support.adapters import write_adapter
from support.models import gemma3, qwen_coder, smollm2, tiny_chat
from support.runner import RunnerClient, RunnerFailure, loaded_runner

FIT, COMMIT = p.LoadOperation.FIT, p.LoadOperation.COMMIT
STORY = "Once upon a time, there was"


@pytest.fixture
def runner() -> Iterator[RunnerClient]:
    with RunnerClient() as client:
        yield client


@pytest.fixture(scope="module")
def refusing() -> Iterator[RunnerClient]:
    """A runner that never gets a model that it can load: what it refuses leaves nothing behind."""
    with RunnerClient() as client:
        yield client


def failure(runner: RunnerClient, path: Path, **options: object) -> p.Failed:
    with pytest.raises(RunnerFailure) as caught:
        runner.load(path, **options)  # type: ignore[arg-type]
    return caught.value.failed


def only(buffers: list[p.Buffer]) -> p.Buffer:
    (buffer,) = buffers
    return buffer


# --- what is reported ------------------------------------------------------------------------


def test_a_loaded_model_tells_what_it_is(runner: RunnerClient) -> None:
    loaded = runner.load(smollm2(), context_tokens=100_000, batch_tokens=64)
    assert loaded.context_tokens == loaded.trained_context_tokens == 8192
    assert loaded.vocabulary_tokens == 49152
    assert loaded.embedding_length == 576
    assert not loaded.has_encoder_only
    assert (loaded.adds_bos, loaded.eos_token) == (False, "<|im_end|>")
    assert loaded.threads == 1
    assert loaded.load_ns > 0


@pytest.mark.parametrize("embedding", [False, True])
def test_a_dry_run_says_what_a_load_takes(runner: RunnerClient, embedding: bool) -> None:
    planned = runner.load(gemma3(), operation=FIT, batch_tokens=64, embedding=embedding)
    real = runner.load(gemma3(), batch_tokens=64, embedding=embedding)
    plan, taken = only(planned.buffers), only(real.buffers)
    assert plan.device == taken.device == "CPU"
    assert plan.kv_bytes == taken.kv_bytes > 0
    assert plan.compute_bytes == taken.compute_bytes > 0
    plan = only(as_loaded(read_header(gemma3()), Layout(), planned.buffers, is_mapped=True))
    assert plan.weights_bytes == taken.weights_bytes


def test_what_a_load_takes_is_said_without_the_vocabulary_too(runner: RunnerClient) -> None:
    whole = runner.load(qwen_coder(), operation=FIT)
    request = p.Load(
        id=runner.new_id(),
        operation=FIT,
        files=p.ModelFiles(weights_path=str(qwen_coder())),
        options=p.LoadOptions(context_tokens=1024, threads=1),
        unread=p.UnreadVocabulary(architecture="qwen2", tokens=whole.vocabulary_tokens),
    )
    assert runner.call(request, p.Loaded).buffers == whole.buffers


def test_a_dry_run_leaves_nothing_behind_and_may_be_repeated(runner: RunnerClient) -> None:
    for tokens in (512, 1024, 2048):
        kv_bytes = only(
            runner.load(smollm2(), operation=FIT, context_tokens=tokens).buffers
        ).kv_bytes
        assert kv_bytes == tokens * 30 * 2 * 3 * 64 * 2  # layers, K and V, heads, size, f16
    with pytest.raises(RunnerFailure, match="no model is loaded"):
        runner.complete(STORY)
    runner.load(smollm2())
    assert runner.complete(STORY, max_tokens=1).tokens


def test_the_logits_of_a_whole_batch_are_not_kept(runner: RunnerClient) -> None:
    """512 tokens times 262,144 logits are 512 MiB, of which a step needs a row a sequence."""
    compute_bytes = only(runner.load(gemma3(), operation=FIT).buffers).compute_bytes
    assert compute_bytes < 64 << 20


def test_one_model_a_runner(runner: RunnerClient) -> None:
    runner.load(smollm2())
    assert "loaded already" in failure(runner, smollm2()).message


def test_progress_comes_before_the_model(runner: RunnerClient) -> None:
    files = p.ModelFiles(weights_path=str(smollm2()))
    options = p.LoadOptions(context_tokens=256, use_mmap=False, threads=1)
    load = runner.send(p.Load(id=1, operation=COMMIT, files=files, options=options))
    *progress, loaded = runner.replies(load)[load]
    assert isinstance(loaded, p.Loaded)
    fractions = [one.fraction for one in progress if isinstance(one, p.LoadProgress)]
    assert fractions
    assert fractions == sorted(fractions)
    assert 0 < fractions[-1] <= 1


def test_requests_sent_during_the_load_are_answered_after_it(runner: RunnerClient) -> None:
    files = p.ModelFiles(weights_path=str(smollm2()))
    options = p.LoadOptions(context_tokens=256, use_mmap=False, threads=1)
    load = runner.send(p.Load(id=runner.new_id(), operation=COMMIT, files=files, options=options))
    one = runner.start(STORY, max_tokens=2)
    answers = runner.replies(load, one)
    assert isinstance(answers[load][-1], p.Loaded)
    assert isinstance(answers[one][-1], p.Completed)


@pytest.mark.parametrize("kv_type", sorted(KV_CACHE_TYPES))
def test_every_kind_of_kv_cache_works(kv_type: str) -> None:
    with loaded_runner(smollm2(), kv_cache_type=kv_type, context_tokens=256) as client:
        assert client.complete("1 2 3 4 5 6 7 8 9 10", max_tokens=3).text == " 11"


def test_the_process_takes_little_beside_the_model(runner: RunnerClient) -> None:
    loaded = only(runner.load(smollm2(), context_tokens=1024).buffers)
    runner.complete(STORY, max_tokens=4, sampling=p.Sampling(repeat_penalty=1.1))
    maps = Path(f"/proc/{runner.process.pid}/smaps").read_text().splitlines()
    resident = mapped = 0
    is_model = False
    for line in maps:
        name, *rest = line.split()
        if "-" in name and not name.endswith(":"):
            is_model = line.endswith(".gguf")
        elif name == "Rss:":
            resident += int(rest[0]) << 10
            mapped += (int(rest[0]) << 10) if is_model else 0
    own_bytes = loaded.kv_bytes + loaded.compute_bytes + loaded.repacked_bytes
    other_bytes = resident - mapped - own_bytes
    assert mapped > 0
    assert other_bytes < 70_000_000


# --- adapters --------------------------------------------------------------------------------


def test_adapters_change_the_model(runner: RunnerClient, tmp_path: Path) -> None:
    texts = []
    for strength in (0.0, 2.0):
        write_adapter(tmp_path / f"{strength}.gguf", strength=strength)
        with RunnerClient() as client:
            client.load(smollm2(), adapters=[tmp_path / f"{strength}.gguf"])
            texts.append(client.complete(STORY, max_tokens=12).text)
    runner.load(smollm2())
    assert runner.complete(STORY, max_tokens=12).text == texts[0] != texts[1]


def test_an_adapter_that_does_not_fit_is_named(refusing: RunnerClient, tmp_path: Path) -> None:
    write_adapter(tmp_path / "wide.gguf", strength=1, width=64)
    with pytest.raises(RunnerFailure, match=r"wide\.gguf") as caught:
        refusing.load(smollm2(), adapters=[tmp_path / "wide.gguf"])
    assert caught.value.failed.kind is p.FailureKind.BAD_MODEL


# --- bad files and options -------------------------------------------------------------------


def header(size: int) -> bytes:
    with open(tiny_chat(), "rb") as file:
        return file.read(size)


BAD_FILES: dict[str, Callable[[], bytes]] = {
    "truncated": lambda: header(5_000_000),
    "truncated_header": lambda: header(100_000),
    "header_only_magic": lambda: b"GGUF",
    "zeros_in_header": lambda: header(2000) + bytes(2000) + header(4000)[4000:],
    "counts_overflow": lambda: header(8) + b"\xff" * 8 + header(4000)[16:],
}


@pytest.mark.parametrize("defect", BAD_FILES)
def test_a_broken_file_is_called_truncated_or_corrupt(
    refusing: RunnerClient, tmp_path: Path, defect: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(BAD_FILES[defect]())
    failed = failure(refusing, path)
    assert failed.kind is p.FailureKind.BAD_MODEL
    assert "truncated or corrupt" in failed.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "the model file is empty", id="empty"),
        pytest.param(b"PK\x03\x04zipped", "the model file is no GGUF file", id="other_format"),
    ],
)
def test_what_is_no_gguf_is_told_so(
    refusing: RunnerClient, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    failed = failure(refusing, tmp_path / "bad.gguf")
    assert (failed.kind, failed.message) == (p.FailureKind.BAD_MODEL, message)


def test_an_absent_file_is_named(refusing: RunnerClient, tmp_path: Path) -> None:
    failed = failure(refusing, tmp_path / "absent.gguf")
    assert failed.kind is p.FailureKind.BAD_MODEL
    assert failed.message.endswith("absent.gguf cannot be read: no such file or directory")


def test_an_unknown_architecture_is_named(refusing: RunnerClient, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    name = b"\x05\0\0\0\0\0\0\0"
    path.write_bytes(header(-1).replace(name + b"llama", name + b"zlama", 1))
    failed = failure(refusing, path)
    assert failed.kind is p.FailureKind.BAD_MODEL
    assert failed.message == "unknown model architecture 'zlama'"


def test_a_runner_that_refused_a_file_loads_the_next_one(
    runner: RunnerClient, tmp_path: Path
) -> None:
    (tmp_path / "bad.gguf").write_bytes(header(100_000))
    failure(runner, tmp_path / "bad.gguf")
    runner.load(smollm2())
    assert runner.complete(STORY, max_tokens=1).tokens


@pytest.mark.parametrize(
    ("limit_mib", "use_mmap", "what"), [(100, False, "the model"), (300, True, "the context")]
)
def test_lack_of_memory_is_told_as_such(
    runner: RunnerClient, limit_mib: int, use_mmap: bool, what: str
) -> None:
    runner.health()  # it has started
    runner.limit_memory(limit_mib << 20)
    failed = failure(runner, smollm2(), context_tokens=8192, use_mmap=use_mmap)
    assert failed.kind is p.FailureKind.OUT_OF_MEMORY
    assert failed.message == f"there is not enough memory for {what}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kv_cache_type": "q3_x"}, "unknown KV cache type 'q3_x'"),
        ({"kv_cache_type": "q8_0", "flash_attention": False}, "requires flash_attn"),
        ({"sequences": 0}, "sequences must be 1 to 256"),
        ({"sequences": 1000}, "sequences must be 1 to 256"),
        ({"context_tokens": 0}, "at least 1 token"),
        ({"batch_tokens": 0}, "at least 1 token"),
        ({"threads": -1}, "negative"),
    ],
)
def test_options_that_cannot_be_are_refused(
    refusing: RunnerClient, options: dict[str, object], says: str
) -> None:
    failed = failure(refusing, smollm2(), **options)
    assert failed.kind is p.FailureKind.BAD_REQUEST
    assert says in failed.message
