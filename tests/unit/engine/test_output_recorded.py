"""Recorded outputs of many models, as `canitoolcall` expects them to be read."""

import pytest
from canitoolcall.results import Status

from support.oracle import BEGIN, DOCUMENT, END, fixtures, judgements, scores, table

LEAST_AS_EXPECTED = 466
KNOWN = {
    "gemma4/vllm-text-before-call": "white space before a call is text in this family: other "
    "fixtures of it say so",
    "glm/glm47-missing-last-close-arg-value": "a value without its closing tag cannot be told "
    "from one that quotes the tag of the call's end",
    "llama/l4-truncated-missing-close-bracket": "the first call of the list was complete, and is "
    "returned as in the other families",
}
"""What is read otherwise than expected, and why."""


def test_recorded_outputs_are_read_as_expected_under_every_cut() -> None:
    others = {name for name, status in judgements().items() if status is not Status.PASS}
    assert others == KNOWN.keys()
    assert len(fixtures()) - len(others) >= LEAST_AS_EXPECTED


def test_the_document_tells_the_scores() -> None:
    document = DOCUMENT.read_text()
    assert document.split(BEGIN)[1].split(END)[0].strip() == table(scores())


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_to_differ_is_still_there(name: str) -> None:
    assert name in {fixture.id for fixture in fixtures()}
