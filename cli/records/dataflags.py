"""The flags of commands that print data, with one meaning and one text everywhere."""

from typing import Annotated

from typer import Option

FormatFlag = Annotated[
    str,
    Option(
        "--format",
        metavar="table|json|TEMPLATE",
        help="A table, JSON, or a Go template such as '{{.Name}}'.",
    ),
]
JsonFlag = Annotated[bool, Option("--json", help="The same as --format json.")]
QuietFlag = Annotated[bool, Option("-q", "--quiet", help="Print the names or digests only.")]
NoTruncFlag = Annotated[bool, Option("--no-trunc", help="Print IDs and digests in full.")]
FilterFlag = Annotated[
    list[str] | None,
    Option(
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        help="Only what matches; values of one key add up, keys narrow down.",
    ),
]
