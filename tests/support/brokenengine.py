"""llama.cpp's real libraries with one real defect, compiled when a test asks for it.

`broken_engine(folder, …)` makes a directory for `LLAMA_CPP_LIB_PATH`: links to the installed
libraries, and in the place of `libllama.so` a shim that needs the real one and defines a function
or two itself. The illegal instruction in it is a real one, as is whatever else is wrong.
"""

import ctypes
import enum
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from olmkit.engine.facts.enginebuild import FILE_NAME
from olmkit.engine.facts.enginelibraries import find_libraries

_SHIM = r"""
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

struct model_params { long long words[%(model_params_words)d]; };
struct batch { long long words[%(batch_words)d]; };

static bool is_deadly;

static void die(void) {
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("ud2");
#elif defined(__aarch64__)
    __asm__ volatile("udf #0");
#else
#error "an illegal instruction of this processor is not known"
#endif
}

static void *real(const char *name) {
    return dlsym(dlopen(REAL, RTLD_NOW), name);
}

#ifdef NEEDS_ABSENT_FUNCTION
extern void absent_function(void);
void needs_it(void) { absent_function(); }
#endif

void *llama_model_load_from_file(const char *path, struct model_params params) {
    is_deadly = ALWAYS || ((const bool *)&params)[%(use_extra_bufts)d];
    if (AT_LOAD && is_deadly) die();
    void *(*load)(const char *, struct model_params) = real("llama_model_load_from_file");
    return load(path, params);
}

int llama_decode(void *context, struct batch batch) {
    if (is_deadly) die();
    int (*decode)(void *, struct batch) = real("llama_decode");
    return decode(context, batch);
}

int llama_tokenize(
    const void *vocabulary, const char *text, int length, int *tokens, int capacity,
    bool add_special, bool parse_special
) {
    if (AT_TOKENS && is_deadly) die();
    int (*tokenize)(const void *, const char *, int, int *, int, bool, bool) =
        real("llama_tokenize");
    return tokenize(vocabulary, text, length, tokens, capacity, add_special, parse_special);
}

#ifdef CLAIMS_MORE
const char *llama_print_system_info(void) {
    return "CPU : AVX2 = 1 | AMX_INT8 = 1 | SME = 1 | REPACK = 1 | ";
}
#endif

#ifdef IN_QUANTIZER
unsigned llama_model_quantize(const char *source, const char *target, const void *params) {
    die();
    return 0;
}
#endif
"""


class Defect(enum.Enum):
    """What is wrong, as flags for the compiler."""

    AT_FIRST_PROMPT = ()
    """An illegal instruction when tokens are decoded, unless weights are in plain buffers: what
    GCC 12.2 makes of ggml's AMX kernels."""
    AT_LOAD = ("-DAT_LOAD=1",)
    """The same when the model is loaded."""
    AT_TOKENS = ("-DAT_TOKENS=1",)
    """The same when a text is made into tokens."""
    ALWAYS = ("-DALWAYS=1",)
    """The same in every mode: an engine for a later processor."""
    QUANTIZER = ("-DIN_QUANTIZER",)
    """The same, in every mode, in the quantizer alone."""
    FOREIGN = ("-DCLAIMS_MORE",)
    """None, but it says that it was compiled for Intel's matrices and for Arm's: no processor has
    both."""
    ABSENT_FUNCTION = (
        "-DNEEDS_ABSENT_FUNCTION",
        "-Wl,--unresolved-symbols=ignore-all",
        "-Wl,-znow",
    )
    """A function that no library has: libraries of two versions."""
    ABSENT_LIBRARY = ("-L.", "-Wl,--no-as-needed", "-labsent")
    """A library that is not there: CUDA's on a machine without."""


def broken_engine(folder: Path, defect: Defect) -> Path:
    """A new directory of libraries with this defect."""
    directory = folder / "lib"
    directory.mkdir(parents=True)
    for library in _installed().iterdir():
        if library.name not in ("libllama.so", FILE_NAME):  # its facts are of another engine
            (directory / library.name).symlink_to(library)
    rebuild(directory, defect)
    return directory


def rebuild(directory: Path, defect: Defect) -> None:
    """Puts a new engine with this defect in the place of the one that is there."""
    from llama_cpp import llama_cpp as api  # the layout of what is passed by value

    model_params: Any = api.llama_model_params
    installed = _installed()
    with TemporaryDirectory(dir=directory.parent) as name:
        folder = Path(name)
        source, library = folder / "shim.c", folder / "libllama.so"
        source.write_text(
            _SHIM
            % {
                "model_params_words": ctypes.sizeof(model_params) // 8,
                "batch_words": ctypes.sizeof(api.llama_batch) // 8,
                "use_extra_bufts": model_params.use_extra_bufts.offset,
            }
        )
        defaults = [f"-D{name}=0" for name in ("ALWAYS", "AT_LOAD", "AT_TOKENS")]
        given = {flag.partition("=")[0] for flag in defect.value}
        flags = [flag for flag in defaults if flag.partition("=")[0] not in given]
        if defect is Defect.ABSENT_LIBRARY:
            _compile("-shared", "-o", "libabsent.so", "-x", "c", os.devnull, cwd=folder)
        _compile(
            *("-shared", "-fPIC", "-O1", "-o", str(library), str(source)),
            *flags,
            f'-DREAL="{installed / "libllama.so"}"',
            # Not from beside it: the real library may bear the name that the shim has.
            f"-Wl,-rpath,{installed}",
            *("-Wl,--no-as-needed", str(installed / "libllama.so"), "-ldl"),
            *defect.value,
            cwd=folder,
        )
        library.replace(directory / library.name)


def mend(directory: Path) -> None:
    """Puts the real library in the place of the broken one."""
    (directory / "libllama.so").unlink()
    (directory / "libllama.so").symlink_to(_installed() / "libllama.so")


def broken_package(folder: Path, defect: Defect) -> Path:
    """A directory for `PYTHONPATH` whose llama_cpp has such libraries installed."""
    package = folder / "site" / "llama_cpp"
    package.mkdir(parents=True)
    for module in _installed().parent.glob("*.py"):
        (package / module.name).write_bytes(module.read_bytes())
    (package / "lib").symlink_to(broken_engine(folder / "built", defect))
    return package.parent


def _installed() -> Path:
    installed = find_libraries(None).installed
    assert installed is not None
    return installed


def _compile(*arguments: str, cwd: Path) -> None:
    subprocess.run(["cc", *arguments], cwd=cwd, check=True)
