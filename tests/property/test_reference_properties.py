"""References: whatever parses is printed and stored without loss, and stays in its place."""

import os

from hypothesis import example, given
from hypothesis import strategies as st

from olmkit.registry.errors import InvalidReference
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import nametree

segments = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
hosts = st.one_of(
    st.sampled_from(["registry.ollama.ai", "hf.co", "ghcr.io", "localhost:5000", "[::1]:80", "h"]),
    st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,8}(:[0-9]{1,5})?", fullmatch=True),
)
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    parts = draw(st.lists(segments, min_size=1, max_size=5))
    host = draw(st.none() | hosts)
    text = "/".join([host, *parts] if host else parts)
    if draw(st.booleans()):
        text += ":" + draw(segments)
    if draw(st.booleans()):
        text += "@" + draw(digests)
    return text


def parsed(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


@given(spellings() | st.from_regex(r"pypi://[a-z0-9._-]{1,9}(==[a-z0-9.+!_-]{1,9})?"))
def test_every_form_of_a_name_parses_back_to_it(text: str) -> None:
    reference = parsed(text)
    if reference is not None:
        assert Reference.parse(reference.short) == reference
        assert Reference.parse(reference.full) == reference
        assert len(reference.short) <= len(reference.full) or reference.host == "pypi"


@given(spellings() | st.text(max_size=60) | st.text(alphabet="./\\:@~a_2f5\0", max_size=30))
@example("ghcr.io/org_ab/team/m:1")
@example("ghcr.io/org/m:1_2f.")
def test_a_name_has_one_place_inside_the_folder_and_is_read_back_from_it(text: str) -> None:
    reference = parsed(text)
    if reference is None:
        return
    try:
        parts = nametree.parts_of(reference)
    except InvalidReference:  # too long for a file name
        return
    assert len(parts) == nametree.LEVELS
    assert os.path.normpath("/".join(parts)) == "/".join(parts)
    for part in parts:
        assert part not in ("", ".", "..")
        assert "/" not in part and "\\" not in part and "\0" not in part
        assert part.isascii() and not part.startswith((".", "-", "~"))
    restored = nametree.reference_of(parts)
    assert restored is not None
    assert (restored.host, restored.repository, restored.tag) == (
        reference.host,
        reference.repository,
        reference.tag,
    )


@given(st.lists(segments, min_size=4, max_size=4))
@example(["0", "0", "0", "_00."])
def test_a_path_that_is_a_name_leads_back_to_the_same_path(parts: list[str]) -> None:
    reference = nametree.reference_of((parts[0].lower(), *parts[1:]))
    if reference is not None:
        again = nametree.reference_of(nametree.parts_of(reference))
        assert again == reference


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused_with_our_error(text: str) -> None:
    parsed(text)
