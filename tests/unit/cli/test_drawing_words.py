"""How `olm ps --verbose` says in which ways tokens are drawn."""

import pytest

from olmkit.cli.commands.ps import drawing


@pytest.mark.parametrize(
    ("shortlist_from", "threads_from", "words"),
    [
        (None, None, "chains"),
        (1, None, "shortlist"),
        (3, None, "shortlist from 3 requests on"),
        (None, 4, "chains in threads from 4 requests on"),
        (2, 4, "shortlist from 2 requests on, chains in threads from 4 requests on"),
    ],
)
def test_words(shortlist_from: int | None, threads_from: int | None, words: str) -> None:
    assert drawing({"shortlist_from": shortlist_from, "threads_from": threads_from}) == words


def test_a_daemon_that_does_not_tell() -> None:
    assert drawing(None) == "-"
