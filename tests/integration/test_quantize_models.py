"""Quantizing real models in the real child process."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from olmkit.engine.create.quantize import quantize
from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.tensortypes import quantization_name
from olmkit.registry.errors import Cancelled
from support.models import minilm_gguf, smollm2
from support.runner import loaded_runner, wait_for_end

LLAMA_QUANTIZE = {
    "Q8_0": "a397ac7a795b1dbfa7c02430f86a7c051317366f0e8facbfac562f09c8c3d317",
    "Q4_K_M": "26d3a438b2349347d033d3de73f4d3996dad75b1c4cd9f86bef7041c966183fc",
    "Q2_K": "58497d36f965872ebef9b412d709acbaf6c0e3bcfbf0af0883b753eaf0df4758",
    "BF16": "169bb41cb02466b11a7c49b8322e0351d9c57763c3b5d124061db2689d5d0e87",
}
"""SHA-256 of what llama-quantize (llama.cpp of llama-cpp-python 0.3.36) makes of MiniLM."""


@pytest.mark.parametrize("name", LLAMA_QUANTIZE)
def test_the_result_is_that_of_llama_quantize(name: str, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    quantize(minilm_gguf(), target, name)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == LLAMA_QUANTIZE[name]
    assert read_header(target).quantization == name
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_a_quantized_model_embeds_much_as_before(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    quantize(minilm_gguf(), target, "q8_0")
    vectors = []
    for path in (minilm_gguf(), target):
        with loaded_runner(path, embedding=True, context_tokens=512) as runner:
            vectors.append(memoryview(runner.embed(["a small test"]).vectors[0]).cast("f"))
    before, after = vectors
    assert sum(x * y for x, y in zip(before, after, strict=True)) > 0.999


def test_progress_counts_the_bytes_of_the_source(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    quantize(minilm_gguf(), tmp_path / "x", "Q8_0", on_progress=lambda *step: seen.append(step))
    completed = [step[0] for step in seen]
    total = read_header(minilm_gguf()).weights_bytes
    assert {step[1] for step in seen} == {total}
    assert completed == sorted(completed)
    assert completed[-1] == total
    assert len(seen) > 50


@pytest.mark.parametrize(
    ("text", "name"),
    [("q4_K_M", "Q4_K_M"), ("Q4_K", "Q4_K_M"), ("f16", "F16"), ("iq4_xs", "IQ4_XS")],
)
def test_names_of_types_are_read_in_any_case_and_by_their_short_forms(text: str, name: str) -> None:
    assert quantization_name(text) == name


@pytest.mark.parametrize("text", ["", "q4", "Q9_0", "NVFP4", "Q4_K_M "])
def test_an_unknown_type_is_refused_with_a_list_of_all(text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable) as caught:
        quantize(minilm_gguf(), tmp_path / "x", text)
    message = str(caught.value)
    assert message.startswith(f"unsupported quantization type {text} - supported types are ")
    assert all(name in message for name in ("F16", "Q4_K_S", "Q8_0", "IQ4_NL", "TQ1_0"))


def test_a_quantized_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="only supported for F16, BF16 and F32 models"):
        quantize(smollm2(), tmp_path / "x", "Q8_0")
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_needs_an_importance_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="IQ2_XXS needs an importance matrix"):
        quantize(minilm_gguf(), tmp_path / "x", "IQ2_XXS")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelUnloadable):
        quantize(source, tmp_path / "x", "Q8_0")


def test_a_model_that_llama_cpp_does_not_know_is_refused_with_its_reason(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(
        minilm_gguf().read_bytes().replace(b"\x04\0\0\0\0\0\0\0bert", b"\x04\0\0\0\0\0\0\0bart", 1)
    )
    with pytest.raises(ModelNotCreatable, match="bart"):
        quantize(source, tmp_path / "x", "Q8_0")


def test_cancelling_ends_the_process_and_leaves_nothing(tmp_path: Path) -> None:
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        quantize(
            minilm_gguf(),
            tmp_path / "x",
            "IQ3_S",
            on_progress=lambda *_: cancelled.set(),
            cancelled=cancelled,
        )
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children() == []


def test_the_process_does_not_outlive_the_one_that_wanted_the_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from olmkit.engine.create.quantize import quantize;"
        "quantize(Path(sys.argv[1]), Path(sys.argv[2]), 'IQ3_S',"
        " on_progress=lambda *_: print(flush=True))"
    )
    command = [sys.executable, "-c", program, str(minilm_gguf()), str(tmp_path / "x")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (worker,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
    wait_for_end(worker.pid)
