"""Every test gets a home of its own and an environment without olm's variables."""

import os
import signal
import sys
from pathlib import Path

# Where PYTHONDONTWRITEBYTECODE is set, each worker would rewrite and compile every test file anew,
# and each of the many commands and daemons that tests start all of olm, which users' do not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pytest  # noqa: E402 - what it rewrites is kept from here on
from hypothesis import HealthCheck, settings  # noqa: E402

# No test measures time: machines are shared. The cases are the same in every run, so that a change
# fails for what it did; `make fuzz` looks for new ones.
settings.register_profile("fuzz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("olm", settings.get_profile("fuzz"), derandomize=True)
settings.load_profile("olm")

# A shell that starts the tests in the background ignores Ctrl-C for them, and so for every program
# that they start; tests that interrupt programs need the ordinary disposition.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.pop("CI", None)  # programs draw on the terminals of the tests

# Tests run side by side. Threads of llama.cpp that spin while they wait for one another take the
# processor from a neighbour, which makes both several times slower; these sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_sessionfinish() -> None:
    """Closes the two files of /dev/null that llama-cpp-python opens when it is imported."""
    bindings = sys.modules.get("llama_cpp._utils")
    if bindings is not None:
        bindings.outnull_file.close()
        bindings.errnull_file.close()


@pytest.fixture(autouse=True)
def olm_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The throw-away `OLM_HOME` of this test."""
    for name in list(os.environ):
        if name.startswith(("OLM_", "OLLAMA_")):
            monkeypatch.delenv(name)
    home = tmp_path / "olm-home"
    monkeypatch.setenv("OLM_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "home" / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "home" / ".docker"))
    return home
