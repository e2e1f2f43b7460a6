"""Results as JUnit's XML, which CI systems show.

Source: https://github.com/testmoapp/junitxml; a failed expectation is a `failure`, all else that
kept an answer away an `error`.
"""

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from olmkit.cli.testing.results import Outcome, Result, counts

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to say; see https://www.w3.org/TR/xml/#charsets."""
MOST_OUTPUT_CHARACTERS: Final = 10_000


def junit_xml(suite: str, results: list[Result]) -> str:
    """The document; one `testsuite` a model, in the order of the results."""
    root = Element("testsuites", _numbers(suite, results))
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model]
        group = SubElement(root, "testsuite", _numbers(model, own))
        for result in own:
            _add(group, suite, result)
    indent(root)
    body: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _numbers(name: str, results: list[Result]) -> dict[str, str]:
    found = counts(results)
    return {
        "name": _xml(name),
        "tests": str(len(results)),
        "failures": str(found[Outcome.FAILED]),
        "errors": str(found[Outcome.ERROR]),
        "time": f"{sum(result.total_s for result in results):.3f}",
    }


def _add(group: Element, suite: str, result: Result) -> None:
    about = {
        "name": _xml(result.case.name),
        "classname": _xml(result.model),
        "file": _xml(suite),
        "line": str(result.case.line),
        "time": f"{result.total_s:.3f}",
    }
    case = SubElement(group, "testcase", about)
    if result.outcome is not Outcome.PASSED:
        tag = "failure" if result.outcome is Outcome.FAILED else "error"
        kind = "expectation" if result.error is None else type(result.error).__name__
        message = "; ".join(result.reasons)
        told = SubElement(case, tag, {"type": kind, "message": _xml(message)})
        told.text = _xml("\n".join(result.reasons))
    if result.answer is not None and result.answer.text:
        SubElement(case, "system-out").text = _xml(result.answer.text[:MOST_OUTPUT_CHARACTERS])


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
