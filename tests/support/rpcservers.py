"""llama.cpp's RPC backend, compiled beside the installed engine, and servers: real devices in
plain processes, so that a model can be split over several of them on a machine without a card.

The installed engine has no RPC backend, and building it in would make everybody compile llama.cpp
anew: its two source files come from the source package of the same version.
"""

import fcntl
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import llama_cpp.llama_cpp as low_level

from support.daemon import free_port

LIBRARIES = Path(low_level.__file__).parent / "lib"
CACHE = Path(__file__).resolve().parents[2] / ".cache"
_SOURCES = ("ggml-rpc.cpp", "transport.cpp")
_SERVER = """
import ctypes, sys
from olmkit.engine.runner.bindings import initialize
from olmkit.engine.runner.bindings.library import api, libraries
initialize()
lib = api._lib
lib.ggml_backend_dev_by_type.restype = ctypes.c_void_p
rpc = ctypes.CDLL(str(libraries().directory / "libggml-rpc.so"))
devices = (ctypes.c_void_p * 1)(lib.ggml_backend_dev_by_type(0))
start = rpc.ggml_backend_rpc_start_server
start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t,
                  ctypes.c_void_p]
start(sys.argv[1].encode(), None, 1, 1, devices)
"""


def engine_with_rpc() -> Path:
    """A folder for LLAMA_CPP_LIB_PATH: the installed libraries, and libggml-rpc.so beside them."""
    folder = CACHE / f"rpc-engine-{version('llama-cpp-python')}"
    CACHE.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "libggml-rpc.so").exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                library = _compiled(Path(scratch))
                folder.mkdir(exist_ok=True)
                library.rename(folder / "libggml-rpc.so")
        for installed in LIBRARIES.glob("*.so*"):
            link = folder / installed.name
            if not link.is_symlink() or link.resolve() != installed.resolve():
                link.unlink(missing_ok=True)
                link.symlink_to(installed)
    return folder


def _compiled(scratch: Path) -> Path:
    source = _llama_cpp(scratch)
    library = scratch / "libggml-rpc.so"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    subprocess.run(
        [
            *compiler,
            *("-O1", "-std=c++17", "-shared", "-fPIC"),
            *("-DGGML_BACKEND_SHARED", "-DGGML_BACKEND_BUILD", "-DGGML_SHARED"),
            *(f"-I{source / 'ggml' / part}" for part in ("include", "src")),
            *(str(source / "ggml/src/ggml-rpc" / name) for name in _SOURCES),
            *("-o", str(library)),
            *(f"-L{LIBRARIES}", "-lggml", "-lggml-base", "-Wl,-rpath,$ORIGIN"),
        ],
        check=True,
    )
    return library


def _llama_cpp(scratch: Path) -> Path:
    """The sources of the llama.cpp that is installed."""
    requirement = f"llama-cpp-python=={version('llama-cpp-python')}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--no-binary", "llama-cpp-python", "-d", str(scratch), requirement]
    subprocess.run(command, check=True)
    (package,) = scratch.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(package) as archive:
        members = [one for one in archive if "/vendor/llama.cpp/ggml/" in one.name]
        archive.extractall(scratch, members=members, filter="data")
    package.unlink()
    (source,) = scratch.glob("llama_cpp_python-*/vendor/llama.cpp")
    return source


@dataclass
class RpcServer:
    """A device in a process of its own."""

    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def device(self) -> str:
        """Its name among the engine's devices."""
        return f"RPC[{self.endpoint}]"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def rpc_servers(count: int) -> Iterator[list[RpcServer]]:
    """So many servers on this machine, with a device each."""
    with ExitStack() as stack:
        yield [stack.enter_context(_server()) for _ in range(count)]


@contextmanager
def _server() -> Iterator[RpcServer]:
    port = free_port()
    endpoint = f"127.0.0.1:{port}"
    environ = dict(os.environ) | {"LLAMA_CPP_LIB_PATH": str(engine_with_rpc())}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER, endpoint],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_listens(port, process)
        yield RpcServer(endpoint, process)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the RPC server ended"
        assert time.monotonic() < deadline, "the RPC server does not listen"
        time.sleep(0.02)


def rpc_environment(servers: list[RpcServer]) -> dict[str, str]:
    """The variables by which olm uses the servers."""
    return {
        "LLAMA_CPP_LIB_PATH": str(engine_with_rpc()),
        "OLM_RPC": ",".join(server.endpoint for server in servers),
    }
