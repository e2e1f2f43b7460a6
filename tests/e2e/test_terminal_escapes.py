"""What models say cannot drive the terminal; into pipes it goes as it is."""

from pathlib import Path

from support.api import Api
from support.daemon import running_daemon
from support.models import smollm2
from support.olm import OLM, olm, out
from support.terminal import on_terminal

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2Jsystem \x9b31m é日本 👩\u200d🚀"


def test_escape_sequences_of_a_model_reach_no_terminal(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        Api(daemon).create("m", smollm2(), system=HOSTILE, license=HOSTILE)
        for words in (["show", "m", "--system"], ["show", "m", "--license"], ["prompt", "m", "hi"]):
            with on_terminal([OLM, *words], daemon.environ) as terminal:
                terminal.wait_for("日本")
                terminal.process.wait()
            for sequence in (b"\x1b]52", b"\x1b[2J", b"\x07", "\x9b".encode()):
                assert sequence not in terminal.raw, words
            assert "👩\u200d🚀".encode() in terminal.raw
            assert HOSTILE in out(olm(daemon.environ, *words))
