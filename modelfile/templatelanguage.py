"""Whether a template's text is Go's language or Jinja: a TEMPLATE is one or the other.

Both write actions in doubled braces. Only Jinja has statements in `{% … %}` and comments in
`{# … #}`, which Go would print as they stand; and Go's variables begin with a dot or a dollar.

Source: https://pkg.go.dev/text/template, https://jinja.palletsprojects.com/templates/
"""

import re
from typing import Final

_STATEMENT: Final = re.compile(
    r"\{%[-+]?\s*(?:if|for|set|macro|generation|block|raw|filter|call|with|endif|endfor)\b"
)
_VARIABLE: Final = re.compile(r"\{\{-?\s*(?:bos_token|eos_token|messages?|raise_exception)\b")
_GO_ACTION: Final = re.compile(
    r"\{\{-?\s*(?:[.$]|(?:if|range|with|end|else|define|block|template)\b)"
)


def is_jinja(template: str) -> bool:
    """Whether a template is written in Jinja."""
    if _GO_ACTION.search(template):
        return False
    return bool(_STATEMENT.search(template) or _VARIABLE.search(template))
