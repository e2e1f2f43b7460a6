"""Whether a model loaded with some options can serve a request that asks for others."""

from olmkit.engine.runner.protocol import LoadOptions


def can_serve(
    has: LoadOptions, wants: LoadOptions, *, context_tokens: int, trained_context_tokens: int
) -> bool:
    """True when a request that `wants` these options needs no reload of what `has` those.

    More than asked for is good: a longer context, more sequences, a larger batch; and what was
    loaded for text gives embeddings too, in batches of its own. What was left to olm (-1, 0,
    None) agrees with anything; the rest must be equal. `context_tokens` is what the loaded
    context really holds; nobody gets more than the model was trained on.
    """
    wanted_context = wants.context_tokens
    if trained_context_tokens > 0:
        wanted_context = min(wanted_context, trained_context_tokens)
    fits_side_by_side = (
        has.sequences >= wants.sequences and has.batch_tokens >= wants.batch_tokens
        if has.embedding == wants.embedding
        else wants.embedding
    )
    return (
        fits_side_by_side
        and context_tokens >= wanted_context
        and has.kv_cache_type == wants.kv_cache_type
        and (wants.gpu_layers < 0 or has.gpu_layers == wants.gpu_layers)
        and (wants.threads <= 0 or has.threads == wants.threads)
        and (wants.main_gpu is None or has.main_gpu == wants.main_gpu)
        and (wants.use_mmap is None or has.use_mmap == wants.use_mmap)
        and (wants.flash_attention is None or has.flash_attention == wants.flash_attention)
    )
