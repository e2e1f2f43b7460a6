"""Wheels made on the spot, in every state of health."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_wheel(
    folder: Path,
    package: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    requires: Sequence[str] = (),
    recorded: Mapping[str, bytes] | None = None,
) -> Path:
    """A wheel that pip accepts; `recorded` are other bytes for the RECORD to hash."""
    name = package.replace("-", "_")
    information = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {package}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content = dict(files) | {
        f"{information}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{information}/WHEEL": tags.encode(),
    }
    rows = [f"{path},{_recorded(data)},{len(data)}" for path, data in content.items()]
    for path, data in (recorded or {}).items():
        rows = [row for row in rows if not row.startswith(f"{path},")]
        rows.append(f"{path},{_recorded(data)},{len(data)}")
    rows.append(f"{information}/RECORD,,")
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
        archive.writestr(f"{information}/RECORD", "\n".join(rows) + "\n")
    return wheel


def _recorded(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def parts_package(
    folder: Path,
    package: str,
    version: str,
    parts: Sequence[bytes],
    *,
    title: str = "tiny.gguf",
    order: Sequence[int] | None = None,
    whole: bytes | None = None,
    extra: Sequence[str] = (),
) -> None:
    """A package that declares its GGUF in parts, with one wheel for each of them.

    `order` is that of the declarations, `whole` what SHA256SUMS is made of.
    """
    declared = [f"{package}-part{n + 1}=={version}" for n in order or range(len(parts))]
    sums = hashlib.sha256(b"".join(parts) if whole is None else whole).hexdigest()
    name = package.replace("-", "_")
    write_wheel(
        folder,
        package,
        version,
        {f"{name}/data/SHA256SUMS": f"{sums}  {title}\n".encode()},
        requires=[*declared, *extra],
    )
    for number, data in enumerate(parts):
        member = f"{name}_part{number + 1}/data/{title}.part{number:02d}"
        write_wheel(folder, f"{package}-part{number + 1}", version, {member: data})
