"""The header that keeps GCC's AMX intrinsics right, by what reaches the instruction.

No AMX is needed: `ldtilecfg` is replaced in the assembly by a copy of what it would read.
"""

import ctypes
import platform
import re
import subprocess
from pathlib import Path

import pytest

from olmkit.engine.install.compiler import Compiler, compiled_features, find_compiler
from olmkit.engine.install.plan import AMX_HEADER

# A configuration built up on the stack, as ggml does it (src/ggml-cpu/amx/mmq.cpp).
_SOURCE = r"""
#include <cstdint>
#include <immintrin.h>

struct tile_config_t {
    uint8_t palette_id = 0;
    uint8_t start_row = 0;
    uint8_t reserved_0[14] = {0};
    uint16_t colsb[16] = {0};
    uint8_t rows[16] = {0};
};

extern "C" { char captured[64]; }

extern "C" void configure(void) {
    alignas(64) tile_config_t tc = {};
    tc.palette_id = 1;
    tc.start_row = 0;
    tc.rows[0] = 8;   tc.colsb[0] = 64;
    tc.rows[1] = 8;   tc.colsb[1] = 64;
    for (int i = 2; i < 4; i++) { tc.rows[i] = 16; tc.colsb[i] = 32; }
    for (int i = 4; i < 8; i++) { tc.rows[i] = 16; tc.colsb[i] = 64; }
    _tile_loadconfig(&tc);
}
"""
_COLUMNS = (64, 64, 32, 32, 64, 64, 64, 64)
_ROWS = (8, 8, 16, 16, 16, 16, 16, 16)
_CONFIGURATION = (
    bytes([1] + [0] * 15)
    + b"".join(columns.to_bytes(2, "little") for columns in _COLUMNS)
    + bytes(16)
    + bytes(_ROWS)
    + bytes(8)
)

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="AMX is a part of x86-64 alone"
)


@pytest.fixture
def compiler() -> Compiler:
    found = find_compiler()
    assert found is not None
    return found


def _what_arrives(folder: Path, compiler: Compiler, *options: str) -> bytes:
    """The 64 bytes that the instruction would load."""
    source, assembly, library = (folder / name for name in ("a.cpp", "a.s", "a.so"))
    source.write_text(_SOURCE)
    flags = ["-O3", "-fPIC", "-mamx-tile", "-mamx-int8", *options]
    subprocess.run([*compiler.command, *flags, "-S", "-o", assembly, source], check=True)
    text, count = re.subn(r"\tldtilecfg\s+(\S+)", _copy, assembly.read_text())
    assert count == 1
    assembly.write_text(text)
    subprocess.run([*compiler.command, "-shared", "-o", library, assembly], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.configure()
    return bytes((ctypes.c_char * 64).in_dll(loaded, "captured"))


def _copy(match: re.Match[str]) -> str:
    """Moves of the operand's 64 bytes, by registers that a function may change."""
    operand = match[1] if match[1][0] != "(" else f"0{match[1]}"
    moves = ["\tmovq captured@GOTPCREL(%rip), %r11"]
    for offset in range(0, 64, 16):
        moves.append(f"\tmovups {offset}+{operand}, %xmm15")
        moves.append(f"\tmovups %xmm15, {offset}(%r11)")
    return "\n".join(moves)


def test_with_the_header_every_byte_of_a_tile_configuration_is_loaded(
    tmp_path: Path, compiler: Compiler
) -> None:
    assert _what_arrives(tmp_path, compiler, "-include", str(AMX_HEADER)) == _CONFIGURATION


def test_without_the_header_bytes_are_lost_exactly_where_the_compiler_is_known_for_it(
    tmp_path: Path, compiler: Compiler
) -> None:
    is_whole = _what_arrives(tmp_path, compiler) == _CONFIGURATION
    assert is_whole is not compiler.miscompiles_amx


def test_flags_that_leave_amx_out_win_over_a_processor_that_has_it(compiler: Compiler) -> None:
    names = ("amx_tile", "amx_int8", "amx_bf16", "avx512f")
    native = ["-march=sapphirerapids"]
    without = [f"-mno-{name.replace('_', '-')}" for name in names[:3]]
    assert set(compiled_features(compiler, native, names)) == set(names)
    assert compiled_features(compiler, [*without, *native], names) == ("avx512f",)
