"""Engines that die, made of the real one: libraries, and a source package that compiles to them."""

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import llama_cpp.llama_cpp as low_level

LIBRARIES = Path(low_level.__file__).parent / "lib"
"""The real engine's."""

VERSION = "0.3.999"
"""Newer than any that an index has, and within what olm asks for."""

# Everything but the decoding comes from the real library behind it.
STUB = "int llama_decode(void) { __builtin_trap(); }\n"

# What llama-cpp-python's own package does with the options that olm gives it, in seconds.
_CMAKE = """
cmake_minimum_required(VERSION 3.21)
project(llama_cpp C)
set(LLAMA_BUILD_COMMON ON CACHE BOOL "" FORCE)
if (LLAMA_BUILD_COMMON)
    message(FATAL_ERROR "llama-common would be compiled")
endif()
set(into ${SKBUILD_PLATLIB_DIR}/llama_cpp/lib)
if (GGML_NATIVE)
    add_library(llama SHARED stub.c)
    target_link_libraries(llama PRIVATE -Wl,--no-as-needed @REAL@/libllama.so)
    set_target_properties(llama PROPERTIES INSTALL_RPATH @REAL@ NO_SONAME ON)
    install(TARGETS llama LIBRARY DESTINATION ${into})
else()
    install(DIRECTORY @REAL@/ DESTINATION ${into} FILES_MATCHING PATTERN "*.so*")
endif()
"""
_PYPROJECT = f"""
[build-system]
requires = ["scikit-build-core>=0.9.2"]
build-backend = "scikit_build_core.build"
[project]
name = "llama_cpp_python"
version = "{VERSION}"
[tool.scikit-build]
wheel.packages = ["llama_cpp"]
wheel.py-api = "py3"
"""


def dead_libraries(folder: Path) -> Path:
    """A folder for LLAMA_CPP_LIB_PATH: the first step of a model is an illegal instruction."""
    folder.mkdir(parents=True)
    source = folder / "stub.c"
    source.write_text(STUB)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    linking = ["-Wl,--no-as-needed", str(LIBRARIES / "libllama.so"), f"-Wl,-rpath,{LIBRARIES}"]
    subprocess.run(
        [*compiler, "-shared", "-fPIC", "-o", folder / "libllama.so", source, *linking], check=True
    )
    return folder


def dead_source_package(folder: Path) -> Path:
    """An sdist of llama-cpp-python: with GGML_NATIVE it dies as above, without it is the real one.

    Returns:
        The folder with it, for PIP_FIND_LINKS.
    """
    source = folder / f"llama_cpp_python-{VERSION}"
    (source / "llama_cpp").mkdir(parents=True)
    for module in LIBRARIES.parent.glob("*.py"):
        (source / "llama_cpp" / module.name).write_bytes(module.read_bytes())
    (source / "CMakeLists.txt").write_text(_CMAKE.replace("@REAL@", str(LIBRARIES)))
    (source / "pyproject.toml").write_text(_PYPROJECT)
    (source / "stub.c").write_text(STUB)
    information = f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n"
    (source / "PKG-INFO").write_text(information)
    packages = folder / "packages"
    packages.mkdir()
    with tarfile.open(packages / f"{source.name}.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    return packages


def environment_without_engine(folder: Path) -> Path:
    """A virtual environment with all that this one has but llama-cpp-python; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    ours = LIBRARIES.parents[1]
    (site,) = folder.glob("lib/python3*/site-packages")
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for entry in ours.iterdir():
        if entry.name.startswith("pip"):
            # A copy of its own: pip installs where it is. Unpacking a new one costs seconds.
            shutil.copytree(entry, site / entry.name)
        elif not entry.name.startswith(("llama_cpp", "__")):
            (borrowed / entry.name).symlink_to(entry)
    import olmkit

    roots = [str(borrowed), str(Path(olmkit.__file__).parents[1])]
    (site / "borrowed.pth").write_text("\n".join(roots) + "\n")
    return python
