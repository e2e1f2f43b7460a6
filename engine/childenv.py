"""The environment of child processes: what they need, and no secret of the user's.

Runners, template workers and conversions work on files that strangers made. What they do not have
cannot be taken from them: tokens and passwords of registries and package indexes are the daemon's.
"""

import os
from collections.abc import Mapping
from typing import Final

_NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "TERM"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "GPU_DEVICE_ORDINAL", "OLM_RPC"),
    }
)
_PREFIXES: Final = (
    "LC_",
    # Where Python finds itself, and how it runs.
    "PYTHON",
    # What llama.cpp, its libraries and drivers read.
    *("GGML_", "LLAMA_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_"),
    *("CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "ROCM_", "AMD_", "MTL_", "METAL_"),
    *("VK_", "MESA_", "ONEAPI_", "SYCL_", "ZE_"),
)
_SECRET_WORDS: Final = ("TOKEN", "PASSWORD", "SECRET", "KEY", "CREDENTIAL")


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Those of `environ`, by default of this process, that a child of the engine gets."""
    given = os.environ if environ is None else environ
    return {name: value for name, value in given.items() if _is_needed(name)}


def _is_needed(name: str) -> bool:
    if any(word in name.upper() for word in _SECRET_WORDS):
        return False
    return name in _NAMES or name.startswith(_PREFIXES)
