"""Conversion takes memory for blocks of a tensor, not for tensors or models."""

import json
import struct
import subprocess
import sys
from pathlib import Path

from support.checkpoints import write_checkpoint

LARGE_BYTES = 256 * 1024 * 1024
MOST_BYTES = 120 * 1024 * 1024
PROGRAM = """
import sys
from pathlib import Path
from olmkit.engine.create.convert import convert_directory, directory_files
convert_directory(directory_files(Path(sys.argv[1])), Path(sys.argv[2]))
# Not ru_maxrss: that keeps what the parent had when it forked.
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


def grow(path: Path, name: str, shape: list[int]) -> None:
    """Put a tensor of zeros in the place of one of a file; the file is sparse."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    begin = max(entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_")
    data = raw[8 + length :]
    old_begin, old_end = header[name]["data_offsets"]
    moved = {key: dict(entry) for key, entry in header.items()}
    shift = old_end - old_begin
    for key, entry in moved.items():
        if key[0] != "_" and entry["data_offsets"][0] >= old_end:
            entry["data_offsets"] = [offset - shift for offset in entry["data_offsets"]]
    begin -= shift
    moved[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + LARGE_BYTES]}
    text = json.dumps(moved).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data[:old_begin] + data[old_end:])
        file.truncate(8 + len(text) + begin + LARGE_BYTES)


def test_a_tensor_of_256_mb_is_converted_with_half_of_that(tmp_path: Path) -> None:
    directory = write_checkpoint("qwen3", tmp_path / "qwen3")
    config = json.loads((directory / "config.json").read_text())
    rows = LARGE_BYTES // 4 // config["hidden_size"]
    # Rows past the vocabulary make it large; llama.cpp would refuse it, conversion does not look.
    grow(
        directory / "model.safetensors", "model.embed_tokens.weight", [rows, config["hidden_size"]]
    )
    command = [sys.executable, "-c", PROGRAM, str(directory), str(tmp_path / "x.gguf")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert (tmp_path / "x.gguf").stat().st_size > LARGE_BYTES // 2
    assert int(output) < MOST_BYTES
