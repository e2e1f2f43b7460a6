"""Names of a model's shards, `NAME-00001-of-00003.gguf`, as llama.cpp's splitter writes them.

Source: https://github.com/ggml-org/llama.cpp/tree/master/tools/gguf-split
"""

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(
    r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)",
    re.DOTALL | re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """The parts of a shard's name."""

    stem: str
    """The name without number and suffix; shards of one model share it."""
    number: int
    """From 1."""
    count: int
    suffix: str = ".gguf"

    def __str__(self) -> str:
        return f"{self.stem}-{self.number:05d}-of-{self.count:05d}{self.suffix}"

    @property
    def siblings(self) -> tuple[str, ...]:
        """The names of all shards of the model, in order."""
        return shard_names(self.stem, self.count, suffix=self.suffix)


def shard_names(stem: str, count: int, *, suffix: str = ".gguf") -> tuple[str, ...]:
    """The names of the `count` shards of a model, in order."""
    return tuple(
        str(ShardName(stem=stem, number=number, count=count, suffix=suffix))
        for number in range(1, count + 1)
    )


def parse_shard_name(name: str) -> ShardName | None:
    """The parts of a shard's name or path; None for a file that is a model by itself."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["count"]) < 2:
        return None
    return ShardName(
        stem=match["stem"],
        number=int(match["number"]),
        count=int(match["count"]),
        suffix=match["suffix"],
    )
