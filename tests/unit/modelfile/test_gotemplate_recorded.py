"""What Go itself printed, or complained of, for the templates in `gotemplates_recorded.json`.

`olm_error` is our wording where it differs from Go's. Beside an output it is a refusal: complex
numbers, floats in hexadecimal and `js` are what no template of a model uses, and what olm lacks.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import support
from olmkit.modelfile.gotemplate import Template, TemplateError

_RECORDED = json.loads(
    (Path(support.__path__[0]) / "gotemplates_recorded.json").read_text(encoding="utf-8")
)
CASES = [
    pytest.param(case, group["data"], id=f"{number}-{index}")
    for number, group in enumerate(_RECORDED["groups"])
    for index, case in enumerate(group["cases"])
]


@pytest.mark.parametrize(("case", "data"), CASES)
def test_output_and_errors_are_those_of_go(case: dict[str, str], data: Any) -> None:
    if "output" in case and "olm_error" not in case:
        assert Template.parse(case["template"]).execute(data) == case["output"]
        return
    with pytest.raises(TemplateError) as caught:
        Template.parse(case["template"]).execute(data)
    assert str(caught.value) == (case.get("olm_error") or case["error"])
