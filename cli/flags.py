"""Options that several commands have, with one meaning and one text."""

from typing import Annotated

from typer import Option

Insecure = Annotated[
    bool, Option("--insecure", help="Allow a registry without TLS or a valid certificate.")
]
QuietName = Annotated[
    bool, Option("-q", "--quiet", help="Show no progress; print the name at the end.")
]
