"""The least that the pool must know of a model, made from a file."""

from dataclasses import dataclass
from pathlib import Path

from olmkit.engine.gguf.header import GgufHeader, is_gguf, read_header
from olmkit.engine.gguf.tables import Tensor
from olmkit.engine.runner.protocol import ModelFiles


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A `Loadable` without a store."""

    name: str
    digest: str
    model_key: str
    files: ModelFiles
    gguf: GgufHeader
    draft: GgufHeader | None = None


def spec_of(path: Path, *, weights_bytes: int = 1000) -> FileSpec:
    """What to load `path` with: a GGUF file, or a model of `runner_program`.

    The latter has a header that claims `weights_bytes` and nothing else.
    """
    if is_gguf(path):
        header = read_header(path)
    else:
        weights = Tensor(
            name="output.weight",
            shape=(weights_bytes,),
            type_name="I8",
            offset_bytes=0,
            size_bytes=weights_bytes,
        )
        header = GgufHeader(
            path=path,
            name=path.name,
            version=3,
            metadata={},
            tensors=(weights,),
            data_offset_bytes=0,
            size_bytes=weights_bytes,
        )
    return FileSpec(
        name=path.stem,
        digest=f"sha256:{path.stem}",
        model_key=str(path),
        files=ModelFiles(weights_path=str(path)),
        gguf=header,
    )
