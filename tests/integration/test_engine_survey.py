"""What the engine says of itself, asked of one that hangs."""

import os
from pathlib import Path

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from support.daemon import wait_until


def test_an_engine_that_hangs_is_late_and_no_failure_of_the_machine(tmp_path: Path) -> None:
    begun = tmp_path / "pid"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(3600)\n"
    )
    survey = SurveyUnderWay(os.environ | {"PYTHONPATH": str(tmp_path)})
    wait_until(lambda: begun.exists() and begun.read_text(), what="the engine's start")
    said = survey.result(timeout_s=0.1)
    assert said.is_late
    assert said.failure == "did not answer within 0.1 s"
    assert not Path(f"/proc/{begun.read_text()}").exists()
