"""The config blob that a GGUF file deserves, and numbers for people.

Source: `ConfigV2` of https://github.com/ollama/ollama/blob/v0.17.4/types/model/config.go
"""

from pathlib import Path

from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.registry.oci.modelconfig import ModelConfig


def describe(path: Path) -> ModelConfig:
    """What a GGUF file's header says, as the config of a model made of it alone.

    Raises:
        ModelUnloadable: the file cannot be read as GGUF.
    """
    return config_of(read_header(path))


def config_of(header: GgufHeader) -> ModelConfig:
    """The config of a model whose weights have this header."""
    return ModelConfig(
        model_format="gguf",
        model_family=header.architecture,
        model_families=(header.architecture,),
        model_type=human_count(header.parameter_count),
        file_type=header.quantization,
    )


def human_count(number: int) -> str:
    """A count of parameters as Ollama prints it: `8.0B`, `134.52M`, `23K`, `999`."""
    if number >= 10**12:
        return f"{number / 10**12:.1f}T"
    if number >= 10**9:
        return f"{number / 10**9:.1f}B"
    if number >= 10**6:
        return f"{number / 10**6:.2f}M"
    if number >= 10**3:
        return f"{number / 10**3:.0f}K"
    return str(number)
