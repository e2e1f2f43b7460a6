"""The manual page olm-api(7), from the table that the daemon's routes are made of.

It is made in a checkout only, never by a command: nothing else of the command line may know the
daemon's routes.
"""

import re

from olmkit.cli.generated.roff import definitions, escaped, head
from olmkit.engine.access.scopes import Need
from olmkit.engine.api.operations.endpoints import ENDPOINTS, Endpoint

_WHAT = """The daemon speaks HTTP at the address that OLM_HOST says, 127.0.0.1:11434 by default, and
on a private socket of its user. Below /api/ it is Ollama's API, below /v1/ OpenAI's and, at
/v1/messages, Anthropic's; the rest is for whoever runs it. Requests and replies are JSON; streams
are an object a line, or server\\-sent events below /v1/.
.PP
.B /openapi.json
describes every member for programs, and
.B /docs
for people."""
_NEEDS = {
    Need.NOTHING: "no key",
    Need.LIST: "any key",
    Need.INFER: "a key of scope infer",
    Need.READ: "a key of scope read",
    Need.MANAGE: "a key of scope manage",
}
_PARTS = {
    "OLLAMA'S API, AND OLM'S OWN BESIDE IT": "/api/",
    "OPENAI'S AND ANTHROPIC'S APIS": "/v1/",
    "OPERATIONS": "/",
}


def api_page() -> str:
    """The page in the macros of man(7)."""
    parts = [
        head("olm-api", "the HTTP API of the daemon of olm", section=7),
        f".SH DESCRIPTION\n{_WHAT}",
        ".SH KEYS\nWhere a key is asked for, it goes into the header\n"
        '.IR Authorization ,\nas\n.BR "Bearer KEY" ;\nsee\n.BR olm\\-key (1).',
    ]
    left = list(ENDPOINTS)
    for title, begin in _PARTS.items():
        rows = {_heading(one): _described(one) for one in left if one.path.startswith(begin)}
        parts.append(definitions(title, rows))
        left = [one for one in left if not one.path.startswith(begin)]
    parts.append(f".SH EXAMPLE\n.nf\n{escaped(_EXAMPLE)}\n.fi")
    parts.append(".SH SEE ALSO\n.BR olm\\-serve (1),\n.BR olm\\-key (1),\n.BR olm (1)")
    return "\n".join(parts) + "\n"


_EXAMPLE = """curl http://127.0.0.1:11434/api/generate \\
  -d '{"model": "demo", "prompt": "Why is the sky blue?"}'"""


def _heading(endpoint: Endpoint) -> str:
    path = re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", endpoint.path)
    return f"{' '.join(endpoint.methods)} {path}"


def _described(endpoint: Endpoint) -> str:
    text = " ".join((endpoint.handler.__doc__ or "").partition("\n\n")[0].split())
    return f"{text} Needs {_NEEDS[endpoint.need]}."
