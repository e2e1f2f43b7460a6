"""Results as commands that GitHub's runner takes out of a job's output, to show them in the code.

Source: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from collections.abc import Iterable

from olmkit.cli.testing.results import Outcome, Result


def annotations(suite: str, results: Iterable[Result]) -> str:
    """A line for each question that did not pass."""
    return "".join(
        f"::error file={_property(suite)},line={result.case.line},"
        f"title={_property(f'{result.model}: {result.case.name}')}::"
        f"{_data('; '.join(result.reasons))}\n"
        for result in results
        if result.outcome is not Outcome.PASSED
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
