import pytest

from olmkit.cli.chat.asking import Asking, parse_format, parse_keep_alive, parse_think
from olmkit.cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("5m", "5m"), ("300", 300), ("-1", -1), ("0", 0), ("1h30m", "1h30m")],
)
def test_keep_alive_is_a_duration_or_seconds(text: str, value: str | int | None) -> None:
    assert parse_keep_alive(text) == value


@pytest.mark.parametrize("text", ["--5", "+-5", "-", "5 m", "٣", "1e3", "9" * 40])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="invalid value for --keepalive"):
        parse_keep_alive(text)


def test_formats_and_levels() -> None:
    assert parse_format("") is None
    assert parse_format("json") == "json"
    assert parse_format('{"type":"object"}') == {"type": "object"}
    assert parse_think(None) is None
    assert parse_think("") is True
    assert parse_think("false") is False
    assert parse_think("max") == "max"
    with pytest.raises(UsageError):
        parse_think("HIGH")


def test_only_what_was_asked_for_is_sent() -> None:
    assert Asking().body("m") == {"model": "m", "options": {}}
    asking = Asking(keep_alive=0, format="json", think=False, options={"seed": 1})
    assert asking.body("m") == {
        "model": "m",
        "options": {"seed": 1},
        "keep_alive": 0,
        "format": "json",
        "think": False,
    }
