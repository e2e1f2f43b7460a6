"""The commands of the examples in docs/ci, as they are written there, in a folder of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

from support.daemon import free_port, running_daemon
from support.models import smollm2
from support.olm import OLM, environment, olm, out
from support.registry import serving

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "ci"
ACTIONS = {"actions/checkout@v4", "actions/cache@v4", "actions/upload-artifact@v4"}
"""What the service does itself, and no test here can."""

Jobs = dict[str, list[str]]


def github() -> Jobs:
    jobs: Any = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert {step["uses"] for step in steps if "uses" in step} == ACTIONS
    return {
        name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()
    }


def gitlab() -> Jobs:
    document: Any = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    return {
        name: [*job["script"], *job.get("after_script", [])]
        for name, job in document.items()
        if "script" in job
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that has the files of the examples, and weights."""
    folder = tmp_path / "checkout"
    shutil.copytree(EXAMPLES, folder)
    (folder / "model.gguf").symlink_to(smollm2())
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a registry, and the name of a model in it."""
    folder = tmp_path_factory.mktemp("registry")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    (folder / "model.gguf").symlink_to(smollm2())
    with serving() as served:
        host = f"127.0.0.1:{served.port}"
        model = f"{host}/team/brief:1"
        trusting = {"OLM_INSECURE_REGISTRIES": host}
        with running_daemon(folder / "home", environ=trusting) as daemon:
            out(olm(daemon.environ, "create", model, cwd=folder))
            out(olm(daemon.environ, "push", model))
        yield host, model


def run(commands: list[str], checkout: Path, **variables: str) -> list[int]:
    """The exit statuses of the commands, each by a shell of its own as runners do it; one that
    fails ends the job, but for the last, which always runs."""
    environ = {
        "OLM_HOME": str(checkout / ".olm"),
        "OLM_HOST": f"127.0.0.1:{free_port()}",
        "PATH": f"{Path(OLM).parent}:{os.environ['PATH']}",
        "TMPDIR": "/tmp",
        **variables,
    }
    statuses = []
    try:
        for command in commands:
            done = subprocess.run(
                ["sh", "-e", "-c", command],
                cwd=checkout,
                env=environment(environ),
                capture_output=True,
                timeout=300,
                check=False,
            )
            statuses.append(done.returncode)
            if done.returncode:
                sys.stderr.write(done.stdout.decode() + done.stderr.decode())
                break
    finally:
        olm(environ, "serve", "--stop")
    return statuses


def cases(checkout: Path) -> list[ElementTree.Element]:
    return ElementTree.parse(checkout / "report.xml").findall("testsuite/testcase")


@pytest.mark.parametrize("jobs", [github(), gitlab()], ids=["github", "gitlab"])
def test_a_pulled_model_passes(jobs: Jobs, checkout: Path, registry: tuple[str, str]) -> None:
    host, model = registry
    commands = jobs["pulled"]
    statuses = run(commands, checkout, MODEL=model, OLM_INSECURE_REGISTRIES=host)
    assert statuses == [0] * len(commands)
    assert [case.find("failure") for case in cases(checkout)] == [None, None]
    assert {case.get("classname") for case in cases(checkout)} == {model}


@pytest.mark.parametrize("jobs", [github(), gitlab()], ids=["github", "gitlab"])
def test_a_built_model_passes_and_leaves_no_store(jobs: Jobs, checkout: Path) -> None:
    commands = jobs["built"]
    assert run(commands, checkout) == [0] * len(commands)
    assert len(cases(checkout)) == 2
    assert not (checkout / ".olm" / "models").exists()


def test_a_model_that_got_worse_fails_its_job_with_14(checkout: Path) -> None:
    suite = checkout / "olm-test.toml"
    suite.write_text(suite.read_text().replace("Paris", "Atlantis"))
    assert run(github()["built"], checkout) == [0, 14]
    assert [case.find("failure") is None for case in cases(checkout)] == [False, True]


def test_a_missing_model_fails_its_job_with_3(checkout: Path, registry: tuple[str, str]) -> None:
    host, model = registry
    absent = model.replace("brief", "absent")
    assert run(gitlab()["pulled"], checkout, MODEL=absent, OLM_INSECURE_REGISTRIES=host) == [3]
