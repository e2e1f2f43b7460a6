"""Where a loaded model keeps the states of prompts on disk, and of which kind they are."""

import json
import os
import re
from pathlib import Path
from typing import Final

from olmkit.engine.framing import path_of
from olmkit.engine.runner.bindings import system_info, version
from olmkit.engine.runner.promptcache.stored import StoredStates
from olmkit.engine.runner.protocol import Load

_BLOB: Final = re.compile(r"sha256-[0-9a-f]{64}")


def stored_states(request: Load) -> StoredStates | None:
    """The states that this model may use; None where none are kept.

    A state depends on weights, adapters, the type of the cache, on how many streams that may have,
    and on the engine that made it.
    """
    options, files = request.options, request.files
    if not options.prompt_store or options.prompt_store_bytes <= 0:
        return None
    kind = json.dumps(
        [
            _identity(path_of(files.weights_path)),
            [_identity(path_of(path)) for path in files.adapter_paths],
            options.kv_cache_type,
            options.flash_attention,
            options.gpu_layers == 0 or request.mode.cpu_only,
            options.sequences if options.contexts > 1 else 1,
            version(),
            system_info(),
        ]
    )
    directory = Path(path_of(options.prompt_store))
    note = {"weights": os.path.basename(path_of(files.weights_path)), "engine": version()}
    return StoredStates(directory, kind, budget_bytes=options.prompt_store_bytes, note=note)


def _identity(path: str) -> list[object]:
    """What tells a file from others: its digest in a store, else its place, size and time."""
    name = os.path.basename(path)
    if _BLOB.fullmatch(name):
        return [name]
    facts = os.stat(path)
    return [os.path.abspath(os.fsencode(path)).decode("latin-1"), facts.st_size, facts.st_mtime_ns]
