import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

from olmkit.engine.addresses.address import Address, parse_address
from olmkit.engine.configuration import settingreader
from olmkit.engine.configuration.settingreader import TRACE
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.settings import LOCAL_ORIGINS, Settings


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        ("'1.2.3.4'", "http://1.2.3.4:11434"),
        (' " 1.2.3.4 " ', "http://1.2.3.4:11434"),
        (":1234", "http://:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com:1234", "http://example.com:1234"),
        ("example.com", "http://example.com:11434"),
        (":0", "http://:0"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("0:0:0::1", "http://[::1]:11434"),
        ("[::]", "http://[::]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("https://example.com/a/b/", "https://example.com:443/a/b"),
        ("ollama.com", "https://ollama.com:443"),
        ("[fe80::1%eth0]:9", "http://[fe80::1%eth0]:9"),
        ("unix:///run/olm.sock", "unix:///run/olm.sock"),
        ("unix:///run//a/../olm.sock", "unix:///run/olm.sock"),
    ],
)
def test_host_values_are_read_as_ollama_reads_them(value: str, url: str) -> None:
    assert parse_address(value).url == url


@pytest.mark.parametrize("value", [":66000", ":-1", "http://1.2.3.4:bad", "127.0.0.1:99999"])
def test_a_port_that_is_none_is_refused_and_no_other_one_taken(value: str) -> None:
    with pytest.raises(InvalidRequest, match="is no port"):
        parse_address(value)
    with pytest.raises(InvalidRequest, match="is no port"):
        Settings.from_environment({"OLLAMA_HOST": value})


@pytest.mark.parametrize(
    "value",
    [
        *("[::1", "::1]", "[::1]:", "[::1]x", "[1.2.3.4]:5", "1:2:3", "[]:80", "::1]:9"),
        *("http://", "https://:", "http:///path", "a b", "user@host", "host?x", "http://h/?q=1"),
        *("ftp://1.2.3.4", "http:/1.2.3.4", "tcp://0.0.0.0:1"),
        *("unix:", "unix://", "unix://run/olm.sock", "unix:/run/olm.sock", "unix:///run/"),
        "unix:///" + "a" * 108,
    ],
)
def test_a_malformed_address_is_one_sentence_with_the_forms_that_there_are(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_address(value)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "OLM_HOST"
    assert "set OLM_HOST to" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("value", "connect"),
    [
        (":1234", "http://127.0.0.1:1234"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("example.com", "http://example.com:11434"),
    ],
)
def test_a_client_dials_loopback_where_the_daemon_listens_everywhere(
    value: str, connect: str
) -> None:
    assert parse_address(value).connect_url == connect


@pytest.mark.parametrize(
    "value",
    ["", ":1", "0.0.0.0", "[::]", "localhost:9", "127.1.2.3", "unix:///x", "https://localhost:9"],
)
def test_loopback_and_unspecified_addresses_are_local(value: str) -> None:
    assert parse_address(value).is_local


@pytest.mark.parametrize(
    "value",
    ["1.2.3.4", "example.com", "127.0.0.1.example.com", "https://localhost/olm", "ollama.com"],
)
def test_other_addresses_are_not_local(value: str) -> None:
    assert not parse_address(value).is_local


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    settings = Settings.from_environment({"HOME": str(tmp_path)})
    assert settings.address == Address()
    assert settings.home == tmp_path / ".olm"
    assert settings.models == tmp_path / ".olm" / "models"
    assert settings.keep_alive_s == 300
    assert settings.load_timeout_s == 300
    assert settings.context_tokens is None
    assert settings.parallel == 4
    assert settings.max_loaded_models is None
    assert settings.max_queue == 512
    assert settings.origins == LOCAL_ORIGINS
    assert settings.log_level == logging.INFO
    assert settings.flash_attention is None
    assert settings.sources == {}
    assert settings.warnings == ()
    assert settings.source_of("keep_alive_s") == "default"


def test_an_olm_variable_wins_over_its_ollama_twin() -> None:
    environ = {"OLM_KEEP_ALIVE": "1m", "OLLAMA_KEEP_ALIVE": "2m", "OLLAMA_NUM_PARALLEL": "2"}
    settings = Settings.from_environment(environ)
    assert settings.keep_alive_s == 60
    assert settings.source_of("keep_alive_s") == "OLM_KEEP_ALIVE"
    assert settings.parallel == 2
    assert settings.source_of("parallel") == "OLLAMA_NUM_PARALLEL"


def test_an_empty_variable_counts_as_unset() -> None:
    settings = Settings.from_environment({"OLM_HOST": " '' ", "OLLAMA_HOST": ":5"})
    assert settings.address.port == 5


def test_the_store_is_found_through_either_variable(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "OLLAMA_MODELS": "~/.ollama/models"}
    assert Settings.from_environment(environ).models == tmp_path / ".ollama" / "models"
    environ |= {"OLM_MODELS": "/srv/models"}
    assert Settings.from_environment(environ).models == Path("/srv/models")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("-1", math.inf),
        ("-1m", math.inf),
        ("1h2m3s", 3723),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("5x", 300),
    ],
)
def test_keep_alive_takes_durations_and_bare_seconds(value: str, seconds: float) -> None:
    assert Settings.from_environment({"OLM_KEEP_ALIVE": value}).keep_alive_s == seconds


@pytest.mark.parametrize("value", ["0", "-1", "-5m"])
def test_a_load_timeout_of_nothing_or_less_is_no_limit(value: str) -> None:
    assert Settings.from_environment({"OLLAMA_LOAD_TIMEOUT": value}).load_timeout_s == math.inf


@pytest.mark.parametrize("value", ["-1", "0x10", "0o10", "many", "1.5", "٣"])
def test_a_number_that_is_none_gives_way_to_the_default_with_a_warning(value: str) -> None:
    settings = Settings.from_environment({"OLM_MAX_QUEUE": value})
    assert settings.max_queue == 512
    assert settings.source_of("max_queue") == "default"
    assert settings.warnings == (f"OLM_MAX_QUEUE={value!r} is no whole number, using 512",)


@pytest.mark.parametrize(
    ("value", "result"),
    [("1", True), ("T", True), ("false", False), ("0", False), ("yes", True), ("no", True)],
)
def test_flags_are_read_as_go_reads_them(value: str, result: bool) -> None:
    assert Settings.from_environment({"OLLAMA_NOPRUNE": value}).no_prune is result
    assert Settings.from_environment({"OLLAMA_FLASH_ATTENTION": value}).flash_attention is result


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("1", logging.DEBUG),
        ("true", logging.DEBUG),
        ("0", logging.INFO),
        ("2", TRACE),
        ("7", TRACE),
        ("-1", logging.WARNING),
        ("-9", logging.ERROR),
        ("please", logging.DEBUG),
    ],
)
def test_debug_sets_the_log_level(value: str, level: int) -> None:
    assert Settings.from_environment({"OLM_DEBUG": value}).log_level == level


def test_levels_are_those_of_logging() -> None:
    for name in ("DEBUG", "INFO", "WARNING", "ERROR"):
        assert getattr(settingreader, name) == getattr(logging, name)


def test_queues_hold_at_least_the_request_that_loads() -> None:
    settings = Settings.from_environment({"OLM_MAX_QUEUE": "0", "OLM_MAX_QUEUE_PER_MODEL": "0"})
    assert (settings.max_queue, settings.max_queue_per_model) == (1, 1)


def test_origins_of_the_user_come_before_the_local_ones() -> None:
    settings = Settings.from_environment({"OLM_ORIGINS": "https://a.example, ,http://b"})
    assert settings.origins == ("https://a.example", "http://b", *LOCAL_ORIGINS)


def test_an_unknown_kv_cache_type_is_refused() -> None:
    assert Settings.from_environment({"OLM_KV_CACHE_TYPE": "Q8_0"}).kv_cache_type == "q8_0"
    settings = Settings.from_environment({"OLM_KV_CACHE_TYPE": "q3_k"})
    assert settings.kv_cache_type == "f16"
    assert "q3_k" in settings.warnings[0]


def test_reading_settings_imports_nothing_heavy() -> None:
    code = "import sys, olmkit.engine.settings; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"asyncio", "logging", "msgspec", "psutil", "numpy", "httpx"} & set(loaded)
