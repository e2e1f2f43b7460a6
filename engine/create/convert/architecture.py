"""What every architecture's converter has: names of tensors, changes to them, metadata.

A subclass per architecture, a module each. The base class maps `PREFIX.layers.N.PART.weight` to
`blk.N.PART.weight` by tables and writes what the checkpoint holds, as llama.cpp's own converter
does: matrices in 16 bits, vectors and norms in 32.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Final

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.elements import RawArray, RowChange, Source, output_tensor
from olmkit.engine.create.convert.float8 import check_is_float, unpacked
from olmkit.engine.create.convert.hyperparameters import Hyperparameters
from olmkit.engine.create.safetensors import DType
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import GgmlType, Metadata, OutputTensor

_LAYER: Final = re.compile(r"(?:.*\.)?layers?\.(\d{1,5})\.(.+)\.(weight|bias)")
_OTHER: Final = re.compile(r"(.+)\.(weight|bias)")
_NEVER: Final = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
"""Buffers that old checkpoints carry along."""


class Architecture:
    """One model being converted."""

    name: ClassVar[str]
    """`general.architecture`, and the prefix of the architecture's own keys."""
    classes: ClassVar[tuple[str, ...]]
    """Names under `architectures` in config.json."""
    layer_parts: ClassVar[Mapping[str, str]]
    """Part of a layer in the checkpoint to part of a block in GGUF."""
    other_parts: ClassVar[Mapping[str, str]]
    """The same for tensors outside of the layers."""
    always_f32: ClassVar[frozenset[str]] = frozenset()
    """GGUF parts kept in 32 bits although they are matrices."""

    def __init__(self, checkpoint: Checkpoint, config: Hyperparameters) -> None:
        self.checkpoint = checkpoint
        self.config = config

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The checkpoint's tensors by name, as floats of 16 bits at least.

        Raises:
            ModelNotCreatable: the checkpoint is broken or quantized in a way that is not read.
        """
        return unpacked(self.checkpoint.tensors, self.config)

    @property
    def block_count(self) -> int:
        """Number of layers."""
        return self.config.integer("num_hidden_layers", "n_layers", "n_layer", "num_layers")

    def parameters(self) -> Metadata:
        """The architecture's keys, without its prefix.

        Raises:
            ModelNotCreatable: config.json lacks one or holds a value of the wrong type.
        """
        raise NotImplementedError

    def vocabulary(self) -> Metadata:
        """The keys of the tokenizer.

        Raises:
            ModelNotCreatable: the tokenizer's files are missing, invalid or of an unknown kind.
        """
        raise NotImplementedError

    def simplify(self, name: str) -> str | None:
        """The tensor's name without wrappers around the model; None drops the tensor."""
        return name

    @property
    def is_tied(self) -> bool:
        """Whether the embedding is the head too; a head in the checkpoint does not count then."""
        return False

    def shift(self, part: str) -> float:
        """What is added to each value of a GGUF part."""
        return 0.0

    def interleaved_heads(self, part: str) -> int | None:
        """Heads whose rotary halves have to be interleaved, for a GGUF part; None for none."""
        return None

    def row_limit(self, part: str, tensor: Source) -> int | None:
        """How many rows of a GGUF part to keep; None for all."""
        return None

    def extra_tensors(self) -> list[OutputTensor]:
        """Tensors that the checkpoint does not hold, put before the others."""
        return []

    def rename(self, name: str) -> tuple[str, str] | None:
        """GGUF name and part (without block and suffix) of a tensor; None for a dropped one.

        Raises:
            ModelNotCreatable: the architecture knows no such tensor.
        """
        simple = self.simplify(name)
        if simple is None or simple.endswith(_NEVER):
            return None
        if match := _LAYER.fullmatch(simple):
            block, source, suffix = match.groups()
            if (part := self.layer_parts.get(source)) and int(block) < self.block_count:
                return f"blk.{int(block)}.{part}.{suffix}", part
        elif match := _OTHER.fullmatch(simple):
            source, suffix = match.groups()
            if part := self.other_parts.get(source):
                return f"{part}.{suffix}", part
        raise ModelNotCreatable(f"tensor {name[:200]!r} has no place in a {self.name} model")

    def tensors(self) -> list[OutputTensor]:
        """The tensors to write, in the checkpoint's order.

        Raises:
            ModelNotCreatable: an unknown tensor, two that map to one name, a layer with a gap.
        """
        wide = self.matrix_type
        result = {tensor.name: tensor for tensor in self.extra_tensors()}
        for tensor in self.sources.values():
            renamed = self.rename(tensor.name)
            if renamed is None:
                continue
            name, part = renamed
            if part == "output" and self.is_tied:
                continue
            if name in result:
                raise ModelNotCreatable(f"tensor {tensor.name[:200]!r} occurs twice as {name}")
            result[name] = self._output(tensor, name, part, wide)
        self._check_complete(result)
        return list(result.values())

    @property
    def matrix_type(self) -> GgmlType:
        """16-bit type for matrices: the first one that the checkpoint's matrices have."""
        for tensor in self.sources.values():
            if len(tensor.shape) >= 2 and self.simplify(tensor.name) is not None:
                if tensor.dtype is DType.BF16:
                    return GgmlType.BF16
                if tensor.dtype is DType.F16:
                    return GgmlType.F16
        return GgmlType.F16

    def _output(self, tensor: Source, name: str, part: str, wide: GgmlType) -> OutputTensor:
        check_is_float(tensor)
        is_vector = len(tensor.shape) < 2 or not name.endswith(".weight")
        narrow = is_vector or part.endswith("_norm") or part in self.always_f32
        heads = self.interleaved_heads(part)
        if heads and tensor.rows % (2 * heads):
            raise ModelNotCreatable(
                f"tensor {tensor.name[:200]!r} has {tensor.rows} rows for {heads} heads"
            )
        return output_tensor(
            tensor,
            name,
            GgmlType.F32 if narrow else wide,
            rows=self.row_limit(part, tensor),
            row_multiple=tensor.rows // heads if heads else 1,
            reorder=interleave(tensor.rows // heads) if heads else None,
            add=self.shift(part),
        )

    def _check_complete(self, tensors: Mapping[str, OutputTensor]) -> None:
        """There is an embedding, and every layer has what the first one has."""
        if "token_embd.weight" not in tensors:
            raise ModelNotCreatable("the checkpoint lacks the embedding of tokens")
        first = [name[6:] for name in tensors if name.startswith("blk.0.")]
        for block in range(self.block_count):
            for part in first or ["attn_q.weight"]:
                if f"blk.{block}.{part}" not in tensors:
                    raise ModelNotCreatable(f"the checkpoint lacks {part} of layer {block}")


def interleave(head_rows: int) -> RowChange:
    """Reorder the rows of each head from two halves to alternating ones.

    Checkpoints rotate the first half of a head against the second, llama.cpp's `llama`
    architecture rotates neighbours.
    """

    def reorder(block: RawArray) -> RawArray:
        halves = block.reshape(-1, 2, head_rows // 2, *block.shape[1:])
        return halves.swapaxes(1, 2).reshape(block.shape)

    return reorder
