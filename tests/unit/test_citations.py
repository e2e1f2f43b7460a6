"""Every source that the code cites can be opened: it is in this repository or has an address."""

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"https?://\S+")
PAGE = re.compile(r"[\w./-]*\w\.md\b")
UNNAMED = re.compile(
    r"\b(?:reference|facts)(?: page)?(?:'s)?,? *(?:end of )?(?:sections?|chapters?|parts?)? *\d"
    r"|\breference pages?\b|\b\w+[ -]facts, *['\"]",
    re.IGNORECASE,
)
"""A section of a work that is not named: what only its writer can look up."""


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [name for name in listed.stdout.split("\0") if name]


def prose(name: str) -> Iterator[str]:
    """The comments and docstrings of a Python file; any other file whole."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    with tokenize.open(path) as file:
        tokens = tokenize.generate_tokens(file.readline)
        yield "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def unopenable(texts: Iterator[str], pages: set[str]) -> list[str]:
    """What the texts cite that nobody else can open; `pages` are those of the repository."""
    found: list[str] = []
    for text in texts:
        rest = ADDRESS.sub("", " ".join(text.replace("#", " ").split()))
        found += (page for page in PAGE.findall(rest) if page not in pages)
        found += UNNAMED.findall(rest)
    return found


def test_every_cited_page_is_in_the_repository_or_has_an_address() -> None:
    pages = set(tracked("*.md"))
    sources = tracked("*.py", "*.lark", "*.toml", "Makefile", ".ci/run", ".ci/setup", ".ci/build")
    # Few files name a page at all, in code or prose; only of those the prose is taken out.
    suspects = [name for name in sources if unopenable(iter([(ROOT / name).read_text()]), pages)]
    cited = {name: unopenable(prose(name), pages) for name in suspects}
    assert len(sources) > 400
    assert {name: found for name, found in cited.items() if found} == {}


def test_pages_that_nobody_has_are_found() -> None:
    # Works that do not exist, put together here, so that no line of this file cites one.
    cites = (
        ("tide-table {}, sections 2.4 and 4", "reference"),
        ("tide-{}, section 8", "facts"),
        ("{}.md, 1.1", "notes"),
        ('x {}, "y"', "facts"),
    )
    for place, work in cites:
        cite = place.format(work)
        assert unopenable(iter([f"Source: {cite}."]), {"docs/notes.md"}), cite


def test_pages_of_the_repository_and_addresses_pass() -> None:
    text = "Source: docs/notes.md; https://example.com/spec.md#section-2; RFC 9110, section 2."
    assert unopenable(iter([text]), {"docs/notes.md"}) == []
