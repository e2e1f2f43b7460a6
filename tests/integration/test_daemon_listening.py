import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from olmkit.engine.addresses.address import Address, parse_address
from olmkit.engine.addresses.listening import announced, bound_address, listen
from olmkit.engine.errors import AddressInUse, DaemonError


@pytest.mark.parametrize(
    ("value", "dialled"),
    [
        ("127.0.0.1:0", ["127.0.0.1"]),
        ("localhost:0", ["127.0.0.1"]),
        ("0.0.0.0:0", ["127.0.0.1"]),
        (":0", ["127.0.0.1", "::1"]),
        ("[::1]:0", ["::1"]),
    ],
)
def test_every_spelling_of_an_address_listens(value: str, dialled: list[str]) -> None:
    with listen(parse_address(value)) as listener:
        port = listener.getsockname()[1]
        for host in dialled:
            socket.create_connection((host, port), timeout=2).close()


def test_a_taken_address_names_its_holder() -> None:
    with listen(Address(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(AddressInUse) as caught:
            listen(Address(port=port))
    assert caught.value.address == f"127.0.0.1:{port}"
    assert caught.value.holder is not None
    assert caught.value.holder.endswith(f"(pid {os.getpid()})")


def test_a_port_is_free_again_at_once() -> None:
    with listen(Address(port=0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        listener.setblocking(True)
        listener.accept()[0].close()
        client.close()
    listen(Address(port=port)).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 300])
def test_an_address_of_another_machine_is_one_sentence(host: str) -> None:
    with pytest.raises(DaemonError, match="cannot listen at") as caught:
        listen(Address(host=host))
    assert "\n" not in str(caught.value)


def test_the_announcement_lasts_as_long_as_the_daemon(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    with announced(home, Address(port=1)):
        assert json.loads((home / "daemon.json").read_bytes())["pid"] == os.getpid()
        assert home.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in home.iterdir()] == ["run"]


def test_the_announcement_of_another_daemon_is_left_alone(tmp_path: Path) -> None:
    with announced(tmp_path, Address(port=1)):
        (tmp_path / "daemon.json").write_text('{"pid": 1}')
    assert (tmp_path / "daemon.json").exists()


def test_the_lock_of_a_dead_daemon_is_no_obstacle(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from olmkit.engine.addresses.listening import announced
from olmkit.engine.addresses.address import Address
with announced(Path({str(tmp_path)!r}), Address(port=1)):
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "daemon.json").exists()
    with announced(tmp_path, Address(port=1)):
        pass
    assert not (tmp_path / "daemon.json").exists()


def test_what_a_service_manager_opened_speaks_tls_where_it_is_asked_for(tmp_path: Path) -> None:
    with listen(parse_address("0.0.0.0:0")) as passed:
        port = passed.getsockname()[1]
        found = bound_address(parse_address("https://127.0.0.1:1"), passed)
    assert found.url == f"https://0.0.0.0:{port}"
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "s"))
        found = bound_address(parse_address("https://127.0.0.1:1"), passed)
    assert found.url == f"unix://{tmp_path / 's'}"
