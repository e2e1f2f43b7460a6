"""Licences as SPDX names them, where a tag of a model card or the head of a text says which.

Source: https://spdx.org/licenses/; the tags are Hugging Face's,
https://huggingface.co/docs/hub/repositories-licenses
"""

import re
from typing import Final

_IDS: Final = (
    "AFL-3.0",
    "AGPL-3.0",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSL-1.0",
    "CC-BY-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-NC-2.0",
    "CC-BY-NC-3.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-3.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-2.0",
    "CC-BY-NC-SA-3.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "ECL-2.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.1",
    "EUPL-1.2",
    "GPL-2.0",
    "GPL-3.0",
    "ISC",
    "LGPL-2.1",
    "LGPL-3.0",
    "MIT",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "ODbL-1.0",
    "OFL-1.1",
    "PDDL-1.0",
    "PostgreSQL",
    "Unlicense",
    "WTFPL",
    "Zlib",
)
_BY_TAG: Final = {one.lower(): one for one in _IDS}
_HEADS: Final = (
    (re.compile(r"apache license,?\s+version 2\.0"), "Apache-2.0"),
    (re.compile(r"\bmit license\b|permission is hereby granted, free of charge"), "MIT"),
    (re.compile(r"gnu affero general public license\s+version 3"), "AGPL-3.0"),
    (re.compile(r"gnu general public license\s+version 3"), "GPL-3.0"),
    (re.compile(r"attribution-noncommercial-sharealike 4\.0 international"), "CC-BY-NC-SA-4.0"),
    (re.compile(r"attribution-noncommercial-noderivatives 4\.0 int"), "CC-BY-NC-ND-4.0"),
    (re.compile(r"attribution-noncommercial 4\.0 international"), "CC-BY-NC-4.0"),
    (re.compile(r"attribution-sharealike 4\.0 international"), "CC-BY-SA-4.0"),
    (re.compile(r"attribution 4\.0 international"), "CC-BY-4.0"),
    (re.compile(r"mozilla public license,?\s+version 2\.0"), "MPL-2.0"),
)
_HEAD_CHARS: Final = 1000
_NAME_CHARS: Final = 100


def find_licence(text: str) -> str | None:
    """The SPDX identifier of a tag or a text; None: it is none of those that are known here.

    A text is known by its head alone: terms that somebody added below are not seen.
    """
    text = text.strip()
    if len(text) <= _NAME_CHARS and (known := _BY_TAG.get(text.lower())):
        return known
    head = " ".join(text[:_HEAD_CHARS].lower().split())
    return next((name for pattern, name in _HEADS if pattern.search(head)), None)


def licence_title(text: str) -> str:
    """What to call a licence that SPDX has no name for: its tag, or the first line of its text."""
    lines = (line.strip(" \t#*=-") for line in text.strip()[:_HEAD_CHARS].splitlines())
    return next((line for line in lines if line), "unnamed")[:_NAME_CHARS]
