"""Log lines as llama.cpp writes them, and the sentences that they become."""

import math

import pytest

from olmkit.engine.runner.decoding.sampling import check_sampling
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.process.reasons import adapter_failure, context_failure, model_failure
from olmkit.engine.runner.protocol import FailureKind, Sampling

CLOSING = "llama_model_load_from_file_impl: failed to load model"


def test_an_unknown_architecture_is_named() -> None:
    line = "llama_model_load: error loading model: unknown model architecture: 'zlama'"
    failure = model_failure([line, CLOSING])
    assert failure.kind is FailureKind.BAD_MODEL
    assert str(failure) == "unknown model architecture 'zlama'"


def test_a_truncated_file_is_called_so() -> None:
    line = (
        "llama_model_load: error loading model: tensor 'blk.1.ffn_down.weight' data is not within"
        " the file bounds, model is corrupted or incomplete"
    )
    assert str(model_failure([line, CLOSING])) == (
        "the file is truncated or corrupt: tensor 'blk.1.ffn_down.weight' ends beyond it"
    )


def test_a_broken_header_is_told_in_llama_cpps_words() -> None:
    lines = [
        "gguf_init_from_reader: failed to read key-value pairs",
        "llama_model_load: error loading model: llama_model_loader: failed to load model from x",
        CLOSING,
    ]
    assert str(model_failure(lines)) == (
        "the file's GGUF header is truncated or corrupt: failed to read key-value pairs"
    )


def test_any_other_cause_is_passed_on_without_the_functions_name() -> None:
    line = "llama_model_load: error loading model: missing tensor 'output_norm.weight'"
    assert str(model_failure([line, CLOSING])) == (
        "the model cannot be loaded: missing tensor 'output_norm.weight'"
    )


def test_no_reason_is_said_to_be_none() -> None:
    assert str(model_failure([])) == "the model cannot be loaded: llama.cpp gave no reason"


@pytest.mark.parametrize(
    "line",
    [
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 180.00 MB)",
        "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory",
        "llama_init_from_model: failed to initialize the context: failed to allocate buffer",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "llama_model_load: error loading model: mmap failed: Cannot allocate memory",
    ],
)
def test_lack_of_memory_is_a_kind_of_its_own(line: str) -> None:
    assert model_failure([line, CLOSING]).kind is FailureKind.OUT_OF_MEMORY
    assert context_failure([line]).kind is FailureKind.OUT_OF_MEMORY


def test_options_that_do_not_go_together_are_a_bad_request() -> None:
    failure = context_failure(
        ["llama_init_from_model: quantized V cache requires flash_attn to be enabled"]
    )
    assert failure.kind is FailureKind.BAD_REQUEST
    assert str(failure).endswith("quantized V cache requires flash_attn to be enabled")


def test_an_adapter_is_named_by_its_path() -> None:
    assert "/a/b.gguf" in str(adapter_failure("/a/b.gguf", ["x: wrong shape"]))


@pytest.mark.parametrize("name", Sampling().__struct_fields__)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_sampling_options_must_be_finite(name: str, value: float) -> None:
    with pytest.raises(RequestFailed, match=name) as caught:
        check_sampling(Sampling(**{name: value}))  # type: ignore[arg-type]
    assert caught.value.kind is FailureKind.BAD_REQUEST


def test_a_repeat_penalty_must_be_above_zero() -> None:
    with pytest.raises(RequestFailed, match="repeat_penalty"):
        check_sampling(Sampling(repeat_penalty=0))
