"""What is generated and checked in is what the command tree makes now."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from olmkit.cli.app import COMMANDS
from olmkit.cli.generated.environment import VARIABLES
from olmkit.cli.generated.manpages import generated, pages
from olmkit.engine.api.operations.endpoints import ENDPOINTS
from olmkit.engine.settings import Settings
from olmkit.modelfile.parameters import TABLE

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", generated(), ids=str)
def test_the_file_checked_in_is_the_one_made_now(path: Path) -> None:
    assert (CHECKOUT / path).read_text(encoding="utf-8") == generated()[path], (
        "run `make generated`"
    )


def test_nothing_else_lies_there() -> None:
    there = {
        path.relative_to(CHECKOUT)
        for folder in ("man", "completions")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file()
    }
    assert there == set(generated())


def test_man_renders_all_pages_without_complaint() -> None:
    paths = [str(CHECKOUT / path) for path in generated() if path.parts[0] == "man"]
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", *paths], capture_output=True, check=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.count("olm manual") >= len(paths)


class Asked(Mapping[str, str]):
    """An environment that notes which variables were looked up."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_variable_that_is_read_is_in_the_manual_and_no_other() -> None:
    environ = Asked()
    Settings.load(environ)
    read = {name for name in environ.names if name.startswith("OLM_")}
    sources = [*(CHECKOUT / "cli").rglob("*.py")]
    for source in sources:
        if source.name != "environment.py":
            read |= set(re.findall(r"environ\S*\(\"(OLM_[A-Z_]+)", source.read_text()))
    assert read == set(VARIABLES)
    for name in VARIABLES:
        assert f".B {name}\n" in pages()["olm.1"]


def test_the_pages_of_tables_have_every_row() -> None:
    parameters = generated()[Path("man/man5/Modelfile.5")]
    for name in TABLE:
        assert f".B {name}\n" in parameters
    routes = generated()[Path("man/man7/olm-api.7")]
    for endpoint in ENDPOINTS:
        assert endpoint.path.partition(":")[0].replace("-", "\\-") in routes


def test_the_main_page_names_every_command() -> None:
    page = pages()["olm.1"]
    for name in COMMANDS:
        assert f".BR olm\\-{name} (1)" in page
