"""Whether a model loaded with some options can serve a request that asks for others."""

from olmkit.engine.planning.batches import with_batch
from olmkit.engine.planning.contexts import choose_context_tokens
from olmkit.engine.runner.protocol import LoadOptions


def can_serve(
    has: LoadOptions,
    wants: LoadOptions,
    *,
    context_tokens: int,
    trained_context_tokens: int,
    is_whole: bool = True,
) -> bool:
    """True when a request that `wants` these options needs no reload of what `has` those.

    More than asked for is good: a longer context, of which a request uses what it asked for,
    more sequences, a larger batch; and what was loaded for text gives embeddings too, in batches
    of its own. What a request leaves to olm (-1, 0, None) is what olm would choose, not what an
    earlier request asked for: an automatic context is the default one, and threads or layers
    that somebody named are not automatic ones. Only how weights are read (`use_mmap`) changes
    nothing once they are there. Where less than asked for is allowed, what is there will do.
    `context_tokens` is what the loaded context really holds; nobody gets more than the model was
    trained on.
    """
    wanted_context = choose_context_tokens(
        wants.context_tokens, trained=trained_context_tokens or None
    )
    if not wants.context_tokens and not has.context_tokens:
        wanted_context = 0  # both leave it to olm, which has chosen already
    elif wants.least_context_tokens:
        wanted_context = min(wanted_context, wants.least_context_tokens)
    fits_side_by_side = (
        has.sequences >= wants.sequences and with_batch(has).batch_tokens >= wants.batch_tokens
        if has.embedding == wants.embedding
        else wants.embedding
    )
    return (
        fits_side_by_side
        and context_tokens >= wanted_context
        and (is_whole or not wants.require_gpu)
        and (wants.use_mmap is None or has.use_mmap == wants.use_mmap)
        and (has.gpu_layers, has.main_gpu, has.threads, has.kv_cache_type, has.flash_attention)
        == (
            wants.gpu_layers,
            wants.main_gpu,
            wants.threads,
            wants.kv_cache_type,
            wants.flash_attention,
        )
    )
