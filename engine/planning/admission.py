"""Whether main memory has room for a model."""

from olmkit.engine.errors import OutOfMemory
from olmkit.engine.planning.footprint import MemoryPlan
from olmkit.engine.planning.ledger import HOST


def check_memory(name: str, plan: MemoryPlan, *, context_tokens: int, free_bytes: int) -> None:
    """Nothing, if the plan fits in `free_bytes`.

    Raises:
        OutOfMemory: one sentence with the numbers.
    """
    if plan.total_bytes <= free_bytes:
        return
    raise OutOfMemory(
        f"{name} needs {_size(plan.total_bytes)} of memory (weights {_size(plan.weights_bytes)}, "
        f"context of {context_tokens} tokens {_size(plan.kv_bytes)}, "
        f"working memory {_size(plan.compute_bytes + plan.process_bytes)}) "
        f"but only {_size(max(0, free_bytes))} is free",
        needed_bytes=plan.total_bytes,
        free_bytes=free_bytes,
        missing={HOST: plan.total_bytes - free_bytes},
        hint="use a smaller num_ctx or model, or stop other programs",
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes >> 20} MiB"
