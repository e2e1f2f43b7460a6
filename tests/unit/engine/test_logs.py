import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine import logs
from olmkit.engine.configuration.settingreader import TRACE


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


def _line(name: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, None, None)


def test_what_strangers_cause_is_said_once_a_minute_and_counted() -> None:
    now_s = [0.0]
    rate = logs.RateFilter(lambda: now_s[0])
    name = "olmkit.engine.api.connections"
    assert [rate.filter(_line(name, "refused: x")) for _ in range(3)] == [True, False, False]
    assert rate.filter(_line(name, "refused: y"))
    now_s[0] = logs.WINDOW_S
    record = _line(name, "refused: x")
    assert rate.filter(record)
    assert vars(record)["suppressed"] == 2


def test_no_part_of_olm_fills_the_log() -> None:
    rate = logs.RateFilter(lambda: 0.0)
    alike = [rate.filter(_line("olmkit.x", "again")) for _ in range(100)]
    assert sum(alike) == logs.MOST_ALIKE
    different = [rate.filter(_line("olmkit.y", f"line {number}")) for number in range(5000)]
    assert sum(different) <= logs.MOST_OF_ONE + 1
    assert rate.filter(_line("olmkit.z", "another part"))


def test_a_log_file_that_is_full_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    code = (
        "import logging, sys; from pathlib import Path; from olmkit.engine.logs import *\n"
        "handler = RotatingStderr(Path(sys.argv[1]), max_bytes=1000)\n"
        "log = logging.getLogger(); log.addHandler(handler)\n"
        "for number in range(100): log.warning('%d %s', number, 'x' * 90)\n"
    )
    with open(path, "ab") as log:
        command = [sys.executable, "-c", code, str(path)]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    kept = [path.with_name(f"daemon.log{end}") for end in ("", ".1", ".2", ".3")]
    assert sorted(tmp_path.iterdir()) == kept
    assert all(one.stat().st_size < 1200 for one in kept)
    assert path.read_text().splitlines()[-1].startswith("99 ")
