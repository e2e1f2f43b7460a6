"""Pieces of a manual page, in the macros of man(7)."""

from olmkit import __version__


def head(name: str, summary: str, *, section: int = 1, is_name: bool = False) -> str:
    """The title of a page, and its NAME; `is_name`: its letters stay as they are."""
    title = escaped(name if is_name else name.upper())
    return (
        f'.TH {title} {section} "" "olm {__version__}" "olm manual"\n'
        f".SH NAME\n{escaped(name)} \\- {escaped(summary)}"
    )


def paragraphs(text: str) -> str:
    """Text whose paragraphs stand apart by blank lines."""
    blocks = (" ".join(block.split()) for block in text.split("\n\n"))
    return "\n.PP\n".join(escaped(block) for block in blocks if block)


def definitions(title: str, rows: dict[str, str]) -> str:
    """A section of terms and what they mean; without a title the list alone."""
    if not rows:
        return ""
    lines = [f".SH {title}"] if title else []
    for term, text in rows.items():
        lines += [".TP", f".B {escaped(term)}", escaped(text) or "\\&"]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """The text with everything escaped that roff would interpret."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\`")
    return f"\\&{text}" if text.startswith((".", "'")) else text
