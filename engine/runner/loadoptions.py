"""What a model is loaded with: its files, the options that last as long as it does, and what to do
without. Parts of the messages in `protocol.py`.
"""

from typing import Final

import msgspec

from olmkit.engine.kvcachetypes import DEFAULT_KV_CACHE_TYPE

HEAD_BATCH_TOKENS: Final = 256
"""Most tokens of a step of a head that guesses further tokens: one layer is fast with few."""


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths of the files of one model, as `framing.wire_path` writes them."""

    weights_path: str
    projector_path: str | None = None
    adapter_paths: list[str] = []
    draft_path: str | None = None
    """A small model that guesses what this one will say."""
    has_draft_head: bool = False
    """The weights have a head that guesses further tokens, of a kind that can be used; it is where
    there is no draft model."""


class AdapterUse(msgspec.Struct, frozen=True, kw_only=True):
    """One adapter of a request: a LoRA or a control vector."""

    path: str
    """As `ModelFiles` has it."""
    scale: float = 1.0
    """Its strength; 0: as if it were not there."""


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options fixed for the life of a loaded model; a change of any needs a reload."""

    context_tokens: int
    """Tokens that one request may have."""
    sequences: int = 4
    """Requests decoded side by side."""
    contexts: int = 1
    """Requests of full length that the KV pool, which all sequences share, has room for."""
    batch_tokens: int = 512
    """Most tokens of one decode step (n_batch and n_ubatch). The daemon takes 0 for as many as suit
    the devices; a runner is told a number.
    """
    gpu_layers: int = -1
    """Layers on the GPU; -1: all that fit."""
    main_gpu: int | None = None
    use_mmap: bool | None = None
    threads: int = 0
    """Number of threads; 0 for as many as the machine gives."""
    kv_cache_type: str = DEFAULT_KV_CACHE_TYPE
    flash_attention: bool | None = None
    """Whether flash attention is used; None: llama.cpp decides."""
    embedding: bool = False
    """Whether the context computes pooled embeddings instead of logits.

    Without it a model that generates embeds too, in a second context that is made when a request
    comes and freed after it: for now and then, not for many. An encoder is loaded as one anyway.
    """
    require_gpu: bool = False
    """The model is loaded with all its layers on cards, or not at all."""
    least_context_tokens: int = 0
    """Where the context that was asked for does not fit, a shorter one of at least so many tokens
    will do; 0: it will not."""
    prompt_cache_bytes: int = 1 << 30
    """Main memory for what idle sequences hold, beside the KV pool."""
    prompt_store: str = ""
    """Directory, as `framing.wire_path` writes it, for what outlives the loaded model; empty:
    nothing does."""
    prompt_store_bytes: int = 0
    """What all models together may take there."""

    @property
    def pool_tokens(self) -> int:
        """Tokens of the KV pool (unified KV)."""
        return self.context_tokens * self.contexts


class SafeMode(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner does without, because the engine died with it on this machine."""

    plain_buffers: bool = False
    """Weights stay as they are in the file: no AMX, no repacking."""
    cpu_only: bool = False
    """Devices other than the processor are left alone."""
    installed_libraries: bool = False
    """The libraries of the package, not those that the user chose: whoever starts the process
    sees to it."""
