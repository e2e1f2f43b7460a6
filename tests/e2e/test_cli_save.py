"""olm save, load, tag, inspect, history, verify, system, lock: the installed command."""

import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry import formats, lockfile
from olmkit.registry.formats import Format
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.daemon import Daemon, running_daemon
from support.models import tiny_chat
from support.olm import OLM, environment, olm, out
from support.stores import GGUF, manifest, put_model, remove_models


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("save") / "home") as running:
        yield running


@pytest.fixture(autouse=True)
def store(daemon: Daemon) -> Iterator[Store]:
    """The daemon's, with two models; it is empty after the test."""
    store = Store(daemon.home / "models")
    put_model(store, "small")
    store.put(
        Reference.parse("ghcr.io/team/big:v2"), manifest(store, GGUF * 300, template=b"{{ .P }}")
    )
    yield store
    remove_models(store.root)


def raw_manifests(store: Store) -> dict[str, bytes]:
    return {model.reference.short: model.manifest.raw for model in store.list()}


@pytest.mark.parametrize("suffix", ["tar", "tar.zst", "tar.gz"])
def test_models_cross_an_air_gap(daemon: Daemon, store: Store, tmp_path: Path, suffix: str) -> None:
    before = raw_manifests(store)
    path = tmp_path / f"models.{suffix}"
    done = olm(daemon.environ, "save", "small", "ghcr.io/team/big:v2", "-o", str(path))
    assert out(done) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.glob(".*models*")] == []
    out(olm(daemon.environ, "rm", "small", "ghcr.io/team/big:v2"))
    assert store.list() == []
    loaded = out(olm(daemon.environ, "load", "-i", str(path)))
    assert loaded == "Loaded model: small:latest\nLoaded model: ghcr.io/team/big:v2\n"
    assert raw_manifests(store) == before
    assert out(olm(daemon.environ, "verify", "-q")).endswith("intact\n")


def test_archives_go_through_pipes(daemon: Daemon, store: Store, tmp_path: Path) -> None:
    saved = olm(daemon.environ, "save", "-q", "small")
    assert saved.returncode == 0
    out(olm(daemon.environ, "rm", "small"))
    assert out(olm(daemon.environ, "load", "-q", stdin=saved.stdout)) == (
        "Loaded model: small:latest\n"
    )
    folder = tmp_path / "layout"
    path = tmp_path / "x.tar"
    path.write_bytes(saved.stdout)
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(path), "-C", str(folder)], check=True)
    assert out(olm(daemon.environ, "load", "-q", str(folder), "--name", "again")) == (
        "Loaded model: again:latest\n"
    )


def test_save_refuses_a_terminal_and_keeps_the_old_file_when_it_fails(
    daemon: Daemon, store: Store, tmp_path: Path
) -> None:
    leader, follower = pty.openpty()
    done = subprocess.run(
        [OLM, "save", "small"],
        stdout=follower,
        stderr=subprocess.PIPE,
        env=environment(daemon.environ),
        check=False,
    )
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2
    assert b"refusing to write an archive to a terminal" in done.stderr

    path = tmp_path / "x.tar"
    path.write_bytes(b"old")
    absent = olm(daemon.environ, "save", "absent", "-o", str(path))
    assert (absent.returncode, path.read_bytes()) == (3, b"old")
    blob = store.blobs.path(Digest.of(GGUF))
    blob.write_bytes(GGUF[:-1] + b"!")
    broken = olm(daemon.environ, "save", "small", "-o", str(path))
    assert broken.returncode == 1
    assert b"the archive is not complete" in broken.stderr
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir() if "x.tar" in entry.name) == ["x.tar"]


def test_load_says_what_is_wrong_with_an_archive(daemon: Daemon, tmp_path: Path) -> None:
    saved = olm(daemon.environ, "save", "-q", "small").stdout
    cut = olm(daemon.environ, "load", stdin=saved[: len(saved) // 2])
    assert (cut.returncode, b"cut off" in cut.stderr or b"in the midst" in cut.stderr) == (1, True)
    junk = olm(daemon.environ, "load", stdin=b"x" * 3_000_000)
    assert junk.returncode == 1
    assert b"no tar archive" in junk.stderr
    assert olm(daemon.environ, "load", "-i", str(tmp_path / "absent")).returncode == 3


def test_tag_and_inspect_and_rm_take_ids(daemon: Daemon, store: Store) -> None:
    digest = store.load(Reference.parse("small")).manifest_digest
    done = olm(daemon.environ, "tag", "small", "ghcr.io/me/other:v1")
    assert (out(done), done.stderr) == ("", b"")
    done = olm(daemon.environ, "inspect", "small", "absent", digest.short, str(digest))
    assert done.returncode == 3
    assert done.stderr == b"Error: model 'absent:latest' not found\n"
    values = json.loads(done.stdout)
    assert done.stdout.startswith(b"[\n    {\n")
    assert [value["id"] for value in values] == [str(digest)] * 3
    assert values[0]["names"] == ["ghcr.io/me/other:v1", "small:latest"]
    assert values[0]["format"] == "ollama"
    assert values[0]["layers"][0]["role"] == "weights"
    assert values[0]["manifest"]["layers"][0]["digest"] == str(Digest.of(GGUF))
    assert out(olm(daemon.environ, "inspect", "-f", "{{.id}} {{len .layers}}", "small")) == (
        f"{digest} 1\n"
    )
    nothing = olm(daemon.environ, "inspect", "absent")
    assert (nothing.returncode, nothing.stdout) == (3, b"[]\n")

    ambiguous = olm(daemon.environ, "rm", digest.short)
    assert ambiguous.returncode == 2
    assert b"several names" in ambiguous.stderr
    out(olm(daemon.environ, "tag", digest.short, "third"))
    out(olm(daemon.environ, "rm", "small"))
    out(olm(daemon.environ, "rm", "-f", digest.short))
    assert [model.reference.short for model in store.list()] == ["ghcr.io/team/big:v2"]
    big = store.list()[0].manifest_digest
    out(olm(daemon.environ, "rm", str(big)))
    assert store.list() == []


def test_history_tells_which_instruction_made_which_layer(daemon: Daemon) -> None:
    header, *rows = out(olm(daemon.environ, "history", "ghcr.io/team/big:v2")).splitlines()
    assert header.split() == ["INSTRUCTION", "SIZE", "DIGEST", "COMMENT"]
    assert [row.split()[0] for row in rows] == ["TEMPLATE", "FROM"]
    lines = out(olm(daemon.environ, "history", "--format", "json", "ghcr.io/team/big:v2"))
    values = [json.loads(line) for line in lines.splitlines()]
    assert values[1]["digest"] == str(Digest.of(GGUF * 300))
    assert values[1]["size"] == len(GGUF * 300)


def test_verify_names_what_is_corrupt(daemon: Daemon, store: Store) -> None:
    store.blobs.path(Digest.of(GGUF)).write_bytes(GGUF[:-1] + b"!")
    done = olm(daemon.environ, "verify", "small")
    assert done.returncode == 1
    assert done.stdout.decode() == f"corrupt: {Digest.of(GGUF)} (of small:latest)\n"
    assert olm(daemon.environ, "verify").returncode == 1
    assert olm(daemon.environ, "verify", "ghcr.io/team/big:v2").returncode == 0


def test_system_shows_and_reclaims_space(daemon: Daemon, store: Store) -> None:
    digest = store.blobs.put_bytes(b"nobody needs this")
    path = store.blobs.path(digest)
    partial = store.blobs.partial / Digest.of(b"later").file_name
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(bytes(8192))
    partial.with_name(partial.name + ".json").write_text('{"size": 8192, "done": [[0, 4096]]}')
    old_s = path.stat().st_mtime - 30 * 86400
    os.utime(partial, (old_s, old_s))
    os.utime(partial.with_name(partial.name + ".json"), (old_s, old_s))

    header, *rows = out(olm(daemon.environ, "system", "df")).splitlines()
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [row.split("  ")[0] for row in rows] == ["Models", "Unused blobs", "Partial downloads"]
    assert rows[2].split()[2:4] == ["1", "0"]
    lines = out(olm(daemon.environ, "system", "df", "--format", "json")).splitlines()
    assert json.loads(lines[0])["total"] == 2
    verbose = out(olm(daemon.environ, "system", "df", "-v"))
    assert "ghcr.io/team/big:v2" in verbose
    assert partial.name in verbose

    unsure = olm(daemon.environ, "system", "prune", stdin="n\n")
    assert b"Are you sure you want to continue? [y/N] " in unsure.stdout
    assert partial.exists()
    dry = out(olm(daemon.environ, "system", "prune", "--dry-run"))
    assert partial.name in dry
    assert partial.exists()
    done = out(olm(daemon.environ, "system", "prune", stdin="y\n"))
    assert f"deleted: {partial.name}" in done
    assert "Total reclaimed space: 8.2 KB" in done
    assert not partial.exists()
    assert path.exists()  # young: it may belong to work that no lease tells of
    young = store.blobs.partial / Digest.of(b"young").file_name
    young.write_bytes(bytes(4096))
    staged = store.blobs.staging / "left-by-a-kill"
    staged.mkdir(parents=True)
    (staged / "file").write_bytes(bytes(4096))
    shown = out(olm(daemon.environ, "system", "df", "-v"))
    assert young.name in shown
    assert "staging/left-by-a-kill" in shown
    done = out(olm(daemon.environ, "system", "prune", "-f"))
    assert "deleted: staging/left-by-a-kill" in done
    assert (young.exists(), staged.exists()) == (True, False)
    assert f"deleted: {young.name}" in out(olm(daemon.environ, "system", "prune", "-a", "-f"))
    assert not young.exists()
    assert {model.reference.short for model in store.list()} == {
        "small:latest",
        "ghcr.io/team/big:v2",
    }


def test_lock_records_digests_and_stays_the_same(
    daemon: Daemon, store: Store, tmp_path: Path
) -> None:
    out(olm(daemon.environ, "lock", "small", "ghcr.io/team/big:v2", cwd=tmp_path))
    path = tmp_path / "olm.lock"
    first = path.read_bytes()
    out(olm(daemon.environ, "lock", cwd=tmp_path))
    assert path.read_bytes() == first
    locked = lockfile.read(path)
    assert locked["small"].digest == store.load(Reference.parse("small")).manifest_digest
    assert olm(daemon.environ, "lock", "absent", cwd=tmp_path).returncode == 3
    assert path.read_bytes() == first
    done = olm(daemon.environ, "pull", "--locked", cwd=tmp_path)  # all are there
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("format_", [Format.MODELPACK, Format.DOCKER])
def test_a_model_of_another_format_answers_as_before(
    daemon: Daemon, store: Store, format_: Format
) -> None:
    text = f"FROM {tiny_chat()}\nSYSTEM Be brief.\n"
    out(olm(daemon.environ, "create", "own", "-f", "-", stdin=text))
    own = formats.read(store, store.load(Reference.parse("own")).manifest)
    store.put(Reference.parse("ghcr.io/a/b"), formats.write(store, own, format_))
    question = {
        "prompt": "Hi",
        "stream": False,
        "options": {"num_predict": 8, "seed": 1, "temperature": 0},
    }
    answers = []
    for name in ("own", "ghcr.io/a/b"):
        status, body = daemon.request("POST", "/api/generate", {"model": name, **question})
        assert status == 200, body
        answers.append(json.loads(body)["response"])
        out(olm(daemon.environ, "stop", name))
    assert answers[0] == answers[1]
    _, shown = daemon.request("POST", "/api/show", {"model": "ghcr.io/a/b"})
    assert json.loads(shown)["system"] == "Be brief."


def test_locked_pulls_get_that_digest_or_nothing(
    daemon: Daemon, store: Store, tmp_path: Path
) -> None:
    out(olm(daemon.environ, "lock", "small", cwd=tmp_path))
    out(olm(daemon.environ, "cp", "ghcr.io/team/big:v2", "other"))
    out(olm(daemon.environ, "cp", "small", "kept"))
    out(olm(daemon.environ, "cp", "other", "small"))
    digest = lockfile.read(tmp_path / "olm.lock")["small"].digest
    assert store.load(Reference.parse("small")).manifest_digest != digest
    out(olm(daemon.environ, "pull", "-q", "--locked", "small", cwd=tmp_path))
    assert store.load(Reference.parse("small")).manifest_digest == digest
    unlocked = olm(daemon.environ, "pull", "--locked", "absent", cwd=tmp_path)
    assert (unlocked.returncode, b"not locked" in unlocked.stderr) == (1, True)
    assert olm(daemon.environ, "pull", "--locked", cwd=tmp_path.parent).returncode == 1


def test_layouts_on_this_machine_are_pulled(daemon: Daemon, store: Store, tmp_path: Path) -> None:
    before = raw_manifests(store)
    path = tmp_path / "all.tar"
    out(olm(daemon.environ, "save", "-q", "small", "ghcr.io/team/big:v2", "-o", str(path)))
    folder = tmp_path / "layout"
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(path), "-C", str(folder)], check=True)
    out(olm(daemon.environ, "rm", "small", "ghcr.io/team/big:v2"))
    pulled = out(olm(daemon.environ, "pull", "-q", f"oci:{folder}:ghcr.io/team/big:v2"))
    assert pulled == "ghcr.io/team/big:v2\n"
    assert [model.reference.short for model in store.list()] == ["ghcr.io/team/big:v2"]
    told = out(olm(daemon.environ, "pull", f"oci-archive:{path}"))
    assert told == "Loaded model: small:latest\nLoaded model: ghcr.io/team/big:v2\n"
    assert raw_manifests(store) == before
    assert olm(daemon.environ, "pull", f"oci:{folder}:absent").returncode == 1
    run = olm(daemon.environ, "run", f"oci:{folder}", "hi")
    assert run.returncode == 2
    assert f"hint: `olm pull oci:{folder}` brings them".encode() in run.stderr
    (tmp_path / "Modelfile").write_text(f"FROM oci:{folder}\n")
    create = olm(daemon.environ, "create", "--check", "-f", str(tmp_path / "Modelfile"))
    assert create.returncode == 1
    assert b"is a layout, which holds models under names of their own" in create.stdout
