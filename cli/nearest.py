"""What somebody may have meant by a name that does not exist."""

from collections.abc import Iterable, Sequence


def near(name: str, names: Iterable[str], *, most: int = 3) -> list[str]:
    """The names that are nearest to one, at most so many, and those that it begins."""
    import difflib  # only for who errs

    folded = {one.lower(): one for one in names}
    close = difflib.get_close_matches(name.lower(), folded, n=most, cutoff=0.6)
    found = [folded[one] for one in close]
    if len(name) > 1:
        begun = [one for one in folded.values() if one.lower().startswith(name.lower())]
        found += [one for one in begun if one not in found]
    return found[:most]


def near_hint(name: str, names: Iterable[str], *, prefix: str = "") -> str | None:
    """`did you mean '…'?`, or None where nothing is near."""
    found = [f"'{prefix}{one}'" for one in near(name, names)]
    return f"did you mean {either(found)}?" if found else None


def either(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
