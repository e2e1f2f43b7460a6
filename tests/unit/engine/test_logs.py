import io
import logging
from collections.abc import Iterator

import pytest

from olmkit.engine import logs
from olmkit.engine.settings import TRACE


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, olm = logging.getLogger(), logging.getLogger("olmkit")
    before = (root.handlers[:], root.level, olm.level)
    yield io.StringIO()
    root.handlers[:], root.level, olm.level = before
    root.manager._clear_cache()  # type: ignore[attr-defined]


log = logging.getLogger("olmkit.engine.test")


def test_an_event_is_one_line_with_its_facts(stream: io.StringIO) -> None:
    logs.configure(logging.INFO, stream=stream)
    log.info("loaded", extra={"model": "smollm2:latest", "context": 4096})
    time, _, rest = stream.getvalue().partition(" ")
    assert time.startswith("time=20")
    assert rest == "level=INFO msg=loaded model=smollm2:latest context=4096\n"


def test_what_could_be_misread_is_quoted(stream: io.StringIO) -> None:
    logs.configure(logging.INFO, stream=stream)
    log.warning('two words\nlevel=ERROR msg="x"', extra={"empty": "", "escape": "\x1b[31m"})
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert r'msg="two words\nlevel=ERROR msg=\"x\""' in line
    assert 'empty=""' in line
    assert "\x1b" not in line


def test_a_traceback_stays_on_the_line(stream: io.StringIO) -> None:
    logs.configure(logging.INFO, stream=stream)
    try:
        raise ValueError("oh")
    except ValueError:
        log.exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: oh" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        (logging.ERROR, "E", "E"),
        (logging.INFO, "IWE", "WE"),
        (logging.DEBUG, "DIWE", "WE"),
        (TRACE, "TDIWE", "DIWE"),
    ],
)
def test_levels_are_ours_and_of_others_only_warnings(
    stream: io.StringIO, level: int, ours: str, theirs: str
) -> None:
    logs.configure(level, stream=stream)
    levels = (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    for name, expected in (("olmkit.x", ours), ("uvicorn.error", theirs)):
        stream.truncate(0)
        stream.seek(0)
        for number in levels:
            logging.getLogger(name).log(number, "m")
        seen = [line.split("level=")[1][0] for line in stream.getvalue().splitlines()]
        assert "".join(seen) == expected
