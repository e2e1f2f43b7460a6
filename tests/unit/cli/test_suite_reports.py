"""Results of a suite in the forms that CI systems read."""

from dataclasses import replace
from xml.etree import ElementTree

from olmkit.cli.errors import NotFound
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.testing.annotations import annotations
from olmkit.cli.testing.junit import junit_xml
from olmkit.cli.testing.results import Outcome, Result, as_json, summary
from olmkit.cli.testing.suitefile import Case, Expectations
from olmkit.engine.client.replies import Timings

CASE = Case(
    name="a,b: <c>",
    line=7,
    messages=(),
    options={},
    format=None,
    think=None,
    tools=None,
    retries=0,
    timeout_s=None,
    expect=Expectations(),
)
ANSWER = OneAnswer(
    model="m",
    digest="sha256:0",
    text="\x00\x1b[31m]]>& \ud800\U0001f600",
    timings=Timings(total_ns=1_500_000_000, completion_tokens=3),
)
PASSED = Result(model="m", case=CASE, outcome=Outcome.PASSED, answer=ANSWER, attempts=2)
FAILED = Result(
    model="m",
    case=replace(CASE, name="d"),
    outcome=Outcome.FAILED,
    failures=("is\nnot 100%", "contains \x07"),
    answer=ANSWER,
)
MISSED = Result(model="n", case=CASE, outcome=Outcome.ERROR, error=NotFound("no such model"))
ALL = [PASSED, FAILED, MISSED]


def test_junit_counts_and_names_and_is_xml_whatever_a_model_says() -> None:
    text = junit_xml("s.toml", ALL)
    root = ElementTree.fromstring(text.encode())
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "time")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "time": "3.000",
    }
    first, second = root.findall("testsuite")
    assert (first.get("name"), second.get("name")) == ("m", "n")
    passed, failed = first.findall("testcase")
    assert passed.get("name") == "a,b: <c>"
    assert passed.get("line") == "7"
    assert passed.findtext("system-out") == "\ufffd\ufffd[31m]]>& \ufffd\U0001f600"
    assert failed.find("failure") is not None
    assert failed.findtext("failure") == "is\nnot 100%\ncontains \ufffd"
    error = second.find("testcase/error")
    assert error is not None
    assert error.get("type") == "NotFound"


def test_annotations_are_one_line_each_with_what_would_end_them_escaped() -> None:
    assert annotations("s,1.toml", ALL) == (
        "::error file=s%2C1.toml,line=7,title=m%3A d::is%0Anot 100%25; contains \x07\n"
        "::error file=s%2C1.toml,line=7,title=n%3A a%2Cb%3A <c>::no such model\n"
    )


def test_the_object_has_every_answer_and_the_exit_status_of_what_was_missed() -> None:
    said = as_json("s.toml", ALL)
    assert (said["passed"], said["failed"], said["error"]) == (1, 1, 1)
    assert [trial["exit_status"] for trial in said["trials"]] == [None, None, 3]
    assert said["trials"][0]["answer"]["digest"] == "sha256:0"
    assert summary(ALL) == "1 passed, 1 failed, 1 error (1 by a retry)"
    assert summary([MISSED, MISSED]) == "0 passed, 2 errors"
