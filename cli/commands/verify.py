"""`olm verify`: hashes blobs again."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.errors import SomeFailed
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.progress import progress_display
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client.replies import Progress
from olmkit.engine.client.storereplies import Checked
from olmkit.engine.client.storereplies import verify as verify_models


def verify(
    models: Annotated[
        list[str] | None,
        Argument(metavar="[MODEL]...", help="Names or IDs; without any, the whole store."),
    ] = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="Show no progress.")] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Hash the blobs of models again, and name those that are corrupt or missing."""
    form = data_form(format=format, json=json)
    terminal = Terminal()
    faults: list[Checked] = []
    count = 0
    with progress_display(terminal, quiet=quiet) as display:
        for line in verify_models(daemon(terminal), models or []):
            if line.reason:
                faults.append(line)
            elif line.status == "success":
                count = line.total
            else:
                display.show(
                    Progress(
                        status=line.status,
                        digest=line.digest,
                        total_bytes=line.total,
                        completed_bytes=line.completed,
                    )
                )
    value = {
        "ok": not faults,
        "blobs": count,
        "faults": [
            {
                "state": fault.status,
                "digest": fault.digest,
                "models": fault.models,
                "reason": fault.reason,
            }
            for fault in faults
        ],
    }
    show_value(value, form, terminal, lambda: _tell(faults, count, terminal))
    if faults:
        raise SomeFailed(f"{len(faults)} of {count} blobs failed")


def _tell(faults: list[Checked], count: int, terminal: Terminal) -> None:
    for fault in faults:
        users = f" (of {', '.join(fault.models)})" if fault.models else ""
        terminal.data(f"{fault.status}: {fault.digest}{users}\n")
        terminal.message(f"Error: {fault.reason}\n")
    if not faults:
        terminal.data(f"{count} {'blob is' if count == 1 else 'blobs are'} intact\n")
