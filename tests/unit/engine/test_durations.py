import pytest

from olmkit.engine.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("0", 0),
        ("-0", 0),
        ("-1m", -60),
        ("+2s", 2),
        (".5s", 0.5),
        ("1.s", 1),
        ("3us", 3e-6),
        ("3µs", 3e-6),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["300", "-5", "1.5"])
def test_a_bare_number_has_no_unit(text: str) -> None:
    with pytest.raises(ValueError, match="missing unit in duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "-", "abc", "5", "5 m", "5m!", "m", ".s", "٣s", "1m" * 40])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
