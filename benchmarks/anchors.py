"""The programs that olm is measured against, and a daemon to measure.

llama-server is built from the llama.cpp source inside the sdist of the installed
llama-cpp-python, by the same compiler with the same options as olm's engine was: what cures a
compiler's defect there cures it here. Where nobody wrote down how the engine was built, nothing
is compared.
"""

import contextlib
import importlib.metadata
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from olmkit.engine.facts.enginebuild import FILE_NAME
from olmkit.engine.facts.enginelibraries import find_libraries
from olmkit.engine.install.compiler import find_compiler
from olmkit.engine.install.enginewheel import cmake_options
from olmkit.engine.install.plan import AMX_HEADER, Plan

BUILD = Path(__file__).resolve().parent / ".build"
OLM = str(Path(sys.executable).with_name("olm"))
READY_TIMEOUT_S = 60

# Where this is set, every command would compile olm's sources anew, which users' do not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def llama_server() -> Path:
    """The path of llama-server, built on the first call (about 5 minutes on 2 cores)."""
    binary = BUILD / "llama" / "bin" / "llama-server"
    if given := os.environ.get("LLAMA_SERVER"):
        return Path(given)
    if binary.exists():
        return binary
    version = importlib.metadata.version("llama-cpp-python")
    BUILD.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    requirement = f"llama-cpp-python=={version}"
    print(f"building llama-server from {requirement}", file=sys.stderr)
    subprocess.run(
        [*pip, "--no-binary", "llama-cpp-python", "-d", str(BUILD), requirement], check=True
    )
    (sdist,) = BUILD.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(BUILD, filter="data")
    source = BUILD / sdist.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    off = ["TESTS", "EXAMPLES", "UI"]
    options = [f"-DLLAMA_BUILD_{name}=OFF" for name in off]
    options += ["-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_CURL=OFF"]
    options += engine_options()
    subprocess.run(
        ["cmake", "-S", source, "-B", BUILD / "llama", "-DCMAKE_BUILD_TYPE=Release", *options],
        check=True,
    )
    subprocess.run(
        [
            "cmake",
            "--build",
            BUILD / "llama",
            "--target",
            "llama-server",
            "-j",
            str(os.cpu_count()),
        ],
        check=True,
    )
    return binary


def engine_options() -> list[str]:
    """CMake's options for the processor and the cards, as olm's engine was built with them."""
    folder = find_libraries(None).installed
    try:
        facts = json.loads((folder / FILE_NAME).read_text("utf-8")) if folder else None
    except OSError:
        facts = None
    if facts is None:
        raise SystemExit(
            "how the engine was built is not known, so llama-server cannot be built alike;"
            " set LLAMA_SERVER to one that is, or run: python -m olmkit.engine.install --gpu auto"
        )
    compiler, compiled_by = find_compiler(), facts["compiler"]
    if compiler is None or (compiler.id, compiler.number) != (
        compiled_by["id"],
        compiled_by["version"],
    ):
        raise SystemExit(f"the engine was built by {compiled_by}, which is not this compiler")
    flags = tuple(shlex.split(facts["c_flags"].replace(AMX_HEADER.name, str(AMX_HEADER))))
    plan = Plan(name="as the engine", definitions=facts["cmake"], compiler_flags=flags)
    return cmake_options(plan, os.environ)


def elapsed_s(
    command: list[str], environ: dict[str, str] | None = None, *, stderr: int | None = None
) -> float:
    """How long a command takes, which must not fail; its output goes nowhere."""
    begun_s = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=stderr)
    return time.perf_counter() - begun_s


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when `url` answers 200; fail when the process ends or a minute has passed."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"{url} did not answer in {READY_TIMEOUT_S} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server: its base URL, its process and its environment."""

    url: str
    process: subprocess.Popen[bytes]
    environ: dict[str, str]

    def post(self, path: str, body: object) -> bytes:
        """The whole answer to a JSON request."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def running(command: list[str], url: str, ready: str, environ: dict[str, str]) -> Iterator[Server]:
    """Run a server for the length of the block."""
    log = BUILD / f"{Path(command[0]).name}.log"
    BUILD.mkdir(exist_ok=True)
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, env=environ, stdout=sink, stderr=sink)
        try:
            wait_ready(url + ready, process)
            yield Server(url=url, process=process, environ=environ)
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def olm_daemon(home: Path, **variables: str) -> Iterator[Server]:
    """An olm daemon with a home of its own."""
    port = free_port()
    environ = os.environ | {"OLM_HOME": str(home), "OLM_HOST": f"127.0.0.1:{port}"} | variables
    url = f"http://127.0.0.1:{port}"
    with running([OLM, "serve"], url, "/api/version", environ) as server:
        yield server


@contextlib.contextmanager
def llama_daemon(model: Path, *arguments: str) -> Iterator[Server]:
    """llama-server with one model."""
    port = free_port()
    command = [str(llama_server()), "--model", str(model), "--port", str(port), "--offline"]
    url = f"http://127.0.0.1:{port}"
    with running([*command, *arguments], url, "/health", dict(os.environ)) as server:
        yield server


def demo_home() -> Path:
    """An olm home that holds the demo model, pulled on the first call."""
    home = BUILD / "home"
    with olm_daemon(home) as daemon:
        subprocess.run([OLM, "pull", "demo"], env=daemon.environ, check=True)
    return home


def weights(home: Path) -> Path:
    """The path of the demo model's GGUF file in that home."""
    blobs = (home / "models" / "blobs").iterdir()
    return max(blobs, key=lambda blob: blob.stat().st_size)


def drop(path: Path) -> None:
    """Remove a folder that a benchmark made."""
    shutil.rmtree(path, ignore_errors=True)
