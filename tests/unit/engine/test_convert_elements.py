"""Element types of tensors: exact values, rounding, changes on the way."""

from pathlib import Path

import numpy as np
import pytest

from olmkit.engine.create.convert.architecture import interleave
from olmkit.engine.create.convert.elements import from_float32, output_tensor, to_float32
from olmkit.engine.create.convert.float8 import _e4m3, _e5m2, unpacked
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.create.safetensors import DType, Tensor, read_tensors
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import GgmlType
from support.weights import Array, stored, values, write_safetensors


def one(tmp_path: Path, array: Array, dtype: str = "F32") -> Tensor:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"x.weight": (dtype, array)})
    return read_tensors(path)["x.weight"]


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    raw = np.array([0x3F80, 0xBF80, 0x0000, 0x7F80, 0x0001, 0x4049], "<u2")
    floats = to_float32(raw, DType.BF16)
    assert floats[:4].tolist() == [1.0, -1.0, 0.0, np.inf]
    assert floats[4] == np.float32(2.0**-133)
    assert floats[5] == np.float32(3.140625)


def test_every_bfloat16_survives_the_way_through_float32() -> None:
    raw = np.arange(65536, dtype=np.uint32).astype("<u2")
    back = from_float32(to_float32(raw, DType.BF16), GgmlType.BF16)
    is_nan = np.isnan(to_float32(raw, DType.BF16))
    assert (back == raw)[~is_nan].all()
    assert np.isnan(to_float32(back, DType.BF16))[is_nan].all()


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1.0 + 2**-8, 0x3F80),  # a tie goes to the even neighbour below
        (1.0 + 3 * 2**-8, 0x3F82),  # and above
        (1.0 + 2**-8 + 2**-20, 0x3F81),
        (3.4e38, 0x7F80),
        (-0.0, 0x8000),
    ],
)
def test_bfloat16_rounds_to_nearest_ties_to_even(value: float, bits: int) -> None:
    assert from_float32(np.array([value], np.float32), GgmlType.BF16)[0] == bits


def test_a_value_beyond_float16_is_an_error_and_an_infinite_one_is_not(tmp_path: Path) -> None:
    large = one(tmp_path, np.array([[1.0, 70000.0]], np.float32))
    with pytest.raises(ModelNotCreatable, match=r"x\.weight holds values beyond"):
        list(output_tensor(large, "x", GgmlType.F16).blocks())
    infinite = one(tmp_path, np.array([[1.0, np.inf]], np.float32))
    (block,) = output_tensor(infinite, "x", GgmlType.F16).blocks()
    assert block.tolist() == [[1.0, np.inf]]


def test_same_types_are_copied_bit_by_bit(tmp_path: Path) -> None:
    odd = np.array([[0x7FC1, 0xFFFF, 0x0001]], "<u2")  # NaNs keep what they carry
    (block,) = output_tensor(one(tmp_path, odd, "BF16"), "x", GgmlType.BF16).blocks()
    assert block.tolist() == odd.tolist()


def test_rows_are_cut_off_and_a_constant_is_added(tmp_path: Path) -> None:
    array = values("x", (9, 4))
    tensor = output_tensor(one(tmp_path, array), "x", GgmlType.F32, rows=5, add=1.0)
    assert tensor.shape == (5, 4)
    assert np.concatenate(list(tensor.blocks())).tolist() == (array[:5] + 1).tolist()


def test_interleaving_alternates_the_halves_of_each_head() -> None:
    rows = np.arange(12).reshape(12, 1)
    assert interleave(6)(rows).ravel().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


def test_8_bit_floats_have_the_values_of_their_standard() -> None:
    e4m3, e5m2 = _e4m3(), _e5m2()
    assert (e4m3[0x7E], e4m3[0x01], e4m3[0x38], e4m3[0xB8]) == (448.0, 2.0**-9, 1.0, -1.0)
    assert np.isnan(e4m3[[0x7F, 0xFF]]).all()
    assert (e5m2[0x7B], e5m2[0x01], e5m2[0x3C]) == (57344.0, 2.0**-16, 1.0)
    assert np.isinf(e5m2[0x7C])


def scaled(tmp_path: Path, scales: Array, block: list[int] | None = None) -> Array:
    """A 4 x 6 matrix of ones in 8-bit floats, multiplied by its scales."""
    path = tmp_path / "model.safetensors"
    ones = np.full((4, 6), 0x38, np.uint8)
    write_safetensors(path, {"w": ("F8_E4M3", ones), "w_scale_inv": ("F32", scales)})
    settings = {"quant_method": "fp8", "weight_block_size": block}
    config = Hyperparameters({"quantization_config": settings})
    (source,) = unpacked(read_tensors(path), config).values()
    assert (source.shape, source.rows, source.dtype) == ((4, 6), 4, DType.F32)
    return np.concatenate(list(source.blocks(64)))


def test_8_bit_floats_are_scaled_by_block_by_row_or_as_a_whole(tmp_path: Path) -> None:
    blocks = scaled(tmp_path, np.array([[2, 3], [4, 5]], "<f4"), [3, 4])
    assert blocks.tolist() == [[2] * 4 + [3] * 2] * 3 + [[4] * 4 + [5] * 2]
    rows = scaled(tmp_path, np.array([[1], [2], [3], [4]], "<f4"))
    assert rows[:, 0].tolist() == [1, 2, 3, 4]
    assert (scaled(tmp_path, np.array(7, "<f4")) == 7).all()


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (0, 2)])
def test_scales_that_do_not_fit_are_an_error(shape: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="scales that do not fit"):
        scaled(tmp_path, np.ones(shape, "<f4"), [3, 4])


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "bitnet", "mxfp4"])
def test_checkpoints_quantized_otherwise_are_refused_by_name(method: str) -> None:
    config = Hyperparameters({"quantization_config": {"quant_method": method}})
    with pytest.raises(ModelNotCreatable, match=method):
        unpacked({}, config)


def test_8_bit_floats_without_scales_are_refused(tmp_path: Path) -> None:
    tensor = one(tmp_path, np.zeros((2, 2), np.uint8), "F8_E5M2")
    with pytest.raises(ModelNotCreatable, match="no scales"):
        unpacked({"x.weight": tensor}, Hyperparameters({}))


def test_blocks_are_bounded_whatever_the_size_of_the_tensor(tmp_path: Path) -> None:
    array = stored(values("x", (32, 4)), "F32")
    source = one(tmp_path, array)
    tensor = output_tensor(source, "x", GgmlType.F32, row_multiple=2, block_bytes=64)
    blocks = list(tensor.blocks())
    assert {block.nbytes for block in blocks} == {64}
    assert np.concatenate(blocks).tolist() == array.tolist()
