"""`olm export` and `olm service`: what they print is read and carried out by others."""

import json
import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from olmkit.cli.deploying.launchd import launch_agent
from support.olm import OLM, environment, olm, out

MODEL = "registry.example/team/little:Q4_K_M"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "user").mkdir()
    return {
        "HOME": str(tmp_path / "user"),
        "XDG_CONFIG_HOME": "",
        "OLM_HOME": str(tmp_path / "a home"),
        "OLM_HOST": "127.0.0.1:18431",
        "OLM_API_KEY": "secret",
    }


def verified(path: Path) -> None:
    """systemd's own check of a unit finds nothing."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stderr.splitlines() if path.name in line or "olm" in line]
    assert not found, found


def test_a_unit_of_systemd_is_one_and_names_this_olm(
    environ: dict[str, str], tmp_path: Path
) -> None:
    text = out(olm(environ, "export", MODEL, "--to", "systemd", "--port", "18432"))
    unit = tmp_path / "olm-little.service"
    unit.write_text(text)
    verified(unit)
    assert f"ExecStart={OLM} serve" in text
    assert f'ExecStartPost={OLM} run --keepalive=-1 {MODEL} ""' in text
    assert f'Environment="OLM_HOME={environ["OLM_HOME"]}"' in text
    assert "OLM_HOST=127.0.0.1:18432" in text
    assert "secret" not in text


@pytest.mark.parametrize("name", ["we$ird%home", 'quo"te', "back\\slash"])
def test_what_systemd_would_expand_arrives_as_it_is(
    environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    environ["OLM_HOME"] = str(tmp_path / name)
    text = out(olm(environ, "export", "demo", "--to", "systemd"))
    (line,) = [line for line in text.splitlines() if "OLM_HOME" in line]
    shown = line.removeprefix("Environment=").strip('"')
    unescaped = shown.replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\")
    assert unescaped == f"OLM_HOME={environ['OLM_HOME']}"
    unit = tmp_path / "olm-demo.service"
    unit.write_text(text)
    verified(unit)


def test_a_compose_file_pulls_once_and_then_serves(environ: dict[str, str]) -> None:
    text = out(olm(environ, "export", MODEL, "--to", "compose", "--port", "18433"))
    services = yaml.safe_load(text)["services"]
    assert services["pull"]["command"] == ["pull", MODEL]
    assert services["serve"]["command"] == ["serve", "--host", "0.0.0.0:11434"]
    assert services["serve"]["environment"] == {"OLM_INSECURE": "1"}
    assert services["serve"]["ports"] == ["127.0.0.1:18433:11434"]
    assert services["serve"]["depends_on"] == {
        "pull": {"condition": "service_completed_successfully"}
    }
    assert services["pull"]["volumes"] == services["serve"]["volumes"]


def test_the_objects_of_kubernetes_belong_together(environ: dict[str, str]) -> None:
    text = out(olm(environ, "export", MODEL, "--to", "kubernetes", "--image", "here/olm:1"))
    claim, deployment, service, policy = yaml.safe_load_all(text)
    names = {each["metadata"]["name"] for each in (claim, deployment, service, policy)}
    assert names == {"olm-registry-example-team-little-q4-k-m"}
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (first,), (main,) = template["spec"]["initContainers"], template["spec"]["containers"]
    assert (first["image"], first["args"]) == ("here/olm:1", ["pull", MODEL])
    assert (main["image"], main["args"][0]) == ("here/olm:1", "serve")
    assert policy["spec"]["podSelector"]["matchLabels"] == template["metadata"]["labels"]
    (volume,) = template["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert first["volumeMounts"] == main["volumeMounts"]


def test_a_quadlet_publishes_on_this_machine_only(environ: dict[str, str]) -> None:
    text = out(olm(environ, "export", MODEL, "--to", "quadlet"))
    assert "PublishPort=127.0.0.1:11434:11434" in text
    assert f"olm pull {MODEL}" in text


def test_a_name_that_is_none_is_refused(environ: dict[str, str]) -> None:
    done = olm(environ, "export", "no name!", "--to", "compose")
    assert done.returncode == 2
    assert not done.stdout


@pytest.fixture
def manager(environ: dict[str, str], tmp_path: Path) -> Path:
    """A `systemctl` that notes its words: there is no user session of systemd in tests."""
    tools = tmp_path / "bin"
    tools.mkdir()
    told = tmp_path / "told"
    script = tools / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    script.chmod(0o755)
    environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    return told


def test_a_service_is_installed_and_taken_out_again(environ: dict[str, str], manager: Path) -> None:
    done = olm(environ, "service", "install", "--on-demand")
    assert done.returncode == 0, done.stderr
    folder = Path(environ["HOME"]) / ".config/systemd/user"
    assert sorted(path.name for path in folder.iterdir()) == ["olm.service", "olm.socket"]
    assert "ListenStream=127.0.0.1:18431" in (folder / "olm.socket").read_text()
    verified(folder / "olm.service")
    verified(folder / "olm.socket")
    assert manager.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now olm.socket",
    ]
    assert olm(environ, "service", "install").returncode == 0
    assert [path.name for path in folder.iterdir()] == ["olm.service"]
    assert olm(environ, "service", "uninstall").stderr == b"olm is no service any more\n"
    assert list(folder.iterdir()) == []
    assert manager.read_text().splitlines()[-2:] == [
        "--user disable --now olm.service olm.socket",
        "--user daemon-reload",
    ]
    assert olm(environ, "service", "uninstall").stderr == b"olm is no service\n"


def test_a_unit_of_somebody_else_is_left_alone(environ: dict[str, str], manager: Path) -> None:
    own = Path(environ["HOME"]) / ".config/systemd/user/olm.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\nExecStart=/bin/true\n")
    for verb in ("install", "uninstall"):
        done = olm(environ, "service", verb)
        assert done.returncode == 1
        assert f"{own} was not written by olm".encode() in done.stderr
    assert "ExecStart=/bin/true" in own.read_text()
    assert not manager.exists()


def test_without_a_manager_the_files_stay_and_the_command_is_told(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    environ["PATH"] = str(tmp_path / "empty")
    done = olm(environ, "service", "install")
    assert done.returncode == 1
    assert b"`systemctl --user daemon-reload` failed: it is not installed" in done.stderr
    assert (Path(environ["HOME"]) / ".config/systemd/user/olm.service").exists()


def test_a_dry_run_writes_nothing(environ: dict[str, str], manager: Path) -> None:
    text = out(olm(environ, "service", "install", "--dry-run"))
    assert "olm.service <==" in text
    assert "systemctl --user enable --now olm.service" in text
    assert not (Path(environ["HOME"]) / ".config").exists()
    assert not manager.exists()


def test_a_launch_agent_is_a_property_list(tmp_path: Path) -> None:
    text = launch_agent(Path("/opt/olm/bin/olm"), {"OLM_HOST": "127.0.0.1:1"}, tmp_path / "log")
    agent = plistlib.loads(text.encode())
    assert agent["ProgramArguments"] == ["/opt/olm/bin/olm", "serve"]
    assert agent["EnvironmentVariables"] == {"OLM_HOST": "127.0.0.1:1"}


def test_the_first_connection_to_a_socket_of_systemd_starts_the_daemon(
    environ: dict[str, str],
) -> None:
    activator = shutil.which("systemd-socket-activate")
    assert activator, "apt-get install systemd"
    passed = [f"-E{name}" for name in ("OLM_HOME", "OLM_HOST", "HOME")]
    with subprocess.Popen(
        [activator, "-l", environ["OLM_HOST"], *passed, OLM, "serve"],
        env=environment(environ),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert b"Listening on" in process.stderr.readline()
            done = olm(environ, "version", "--format", "json")
            assert json.loads(out(done))["daemon"] == json.loads(out(done))["client"]
            facts = json.loads((Path(environ["OLM_HOME"]) / "daemon.json").read_text())
            assert facts["pid"] == process.pid
        finally:
            process.terminate()


def test_a_public_socket_of_systemd_asks_for_keys(environ: dict[str, str]) -> None:
    activator = shutil.which("systemd-socket-activate")
    assert activator, "apt-get install systemd"
    passed = [f"-E{name}" for name in ("OLM_HOME", "HOME")]
    port = environ["OLM_HOST"].rpartition(":")[2]
    with subprocess.Popen(
        [activator, "-l", f"0.0.0.0:{port}", *passed, OLM, "serve"],
        env=environment(environ),
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert b"Listening on" in process.stderr.readline()
        assert olm(environ, "ps").returncode == 5
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"there is no key to ask them for" in said
