"""`olm bench`: how fast a model is on this machine."""

import time
from typing import Annotated, Any

from typer import Argument, Option

from olmkit.cli.building.findmodel import find_model
from olmkit.cli.building.localmodel import called, local_file
from olmkit.cli.errors import UsageError
from olmkit.cli.measuring.benchrun import Bench, BenchRun
from olmkit.cli.measuring.benchtable import bench_table, notes
from olmkit.cli.measuring.savedrun import (
    SavedRun,
    compared_json,
    differences,
    read_saved,
    run_json,
    save,
)
from olmkit.cli.measuring.workloads import Ask
from olmkit.cli.oneshot.constraints import parse_assignments
from olmkit.cli.oneshot.deadline import parse_timeout
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client import Client


def bench(
    model: Annotated[
        str,
        Argument(metavar="MODEL", help="A name, or the path of a GGUF file. Pulled if missing."),
    ],
    rounds: Annotated[
        int, Option("--rounds", metavar="N", min=1, max=1000, help="Samples of each figure.")
    ] = 5,
    time_: Annotated[
        str,
        Option("--time", metavar="TIME", help="Begin no more, and end, when this is over."),
    ] = "60s",
    save_: Annotated[
        str, Option("--save", metavar="FILE", help="Write the run to a file, as JSON.")
    ] = "",
    compare: Annotated[
        str,
        Option("--compare", metavar="FILE", help="Show how much faster this is than a saved run."),
    ] = "",
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A parameter, as in a Modelfile; repeatable."),
    ] = None,
    no_pull: Annotated[
        bool, Option("--no-pull", help="Fail if the store lacks the model.")
    ] = False,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Measure how fast a model is on this machine.

    A model that generates: time to the first token and tokens a second of answers and of prompts,
    at 1, 4 and 8 streams, and the first token of 8 requests that have one beginning. An embedding
    model: one text, and many in one request. Each figure is the median of some rounds; the spread
    says how far apart those were. A slow model gets shorter requests, so that the rounds fit into
    the time; loading is not part of it. With --compare requests are as long as those of the file;
    a speedup over 1 is better, of times and of rates.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    time_s = parse_timeout(time_)
    if time_s is None:
        raise UsageError("invalid value for --time: it is empty")
    saved = read_saved(compare, terminal) if compare else None
    options = parse_assignments(set_ or [])
    client = daemon(terminal)
    digest = local_file(client, model, terminal)
    with called(model, digest):
        details = find_model(client, digest or model, terminal, pulls=not no_pull)
        generates = "embedding" not in details.capabilities
        if saved is not None and (saved.sizes is None) == generates:
            raise UsageError(f"{compare} is a run of another kind of model")
        ask = Ask(model=digest or model, options=options)
        run = _measured(client, ask, rounds, time_s, saved, terminal, generates=generates)
        subjects = _subjects(client, model, digest, run, options)
    value = run_json(run, subjects, generates=generates)
    if save_:
        save(save_, value)
    if saved is not None:
        value["compared"] = compared_json(run, saved)
    table = bench_table(run, saved.figures if saved is not None else None)
    show_value(value, form, terminal, lambda: terminal.data(table))
    told = notes(run, wished_rounds=rounds, time_s=time_s)
    told += differences(saved, subjects) if saved is not None else []
    for note in told:
        terminal.message(f"note: {note}\n")


def _measured(
    client: Client,
    ask: Ask,
    rounds: int,
    time_s: float,
    saved: SavedRun | None,
    terminal: Terminal,
    *,
    generates: bool,
) -> BenchRun:
    from olmkit.cli.screen.progress import progress_display
    from olmkit.engine.client.replies import Progress

    with progress_display(terminal) as display:
        one = Bench(
            client=client,
            ask=ask,
            rounds=rounds,
            until_s=time.perf_counter() + time_s,
            on_step=lambda what: display.show(Progress(status=what)),
        )
        return one.answers(saved.sizes if saved else None) if generates else one.vectors()


def _subjects(
    client: Client, model: str, digest: str | None, run: BenchRun, options: dict[str, object]
) -> dict[str, Any]:
    """What was measured where; of a daemon elsewhere its machine is not known."""
    from olmkit.engine.client.storereplies import inspect

    machine = None
    if client.address.is_local:
        from olmkit.engine.facts.processor import this_processor

        processor = this_processor()
        machine = f"{processor.model or processor.machine}, {processor.threads} threads"
    return {
        "model": model,
        "digest": digest or str(inspect(client, model)["id"]),
        "daemon": client.version(),
        "machine": machine,
        "device": run.device,
        "context": run.context_tokens,
        "options": options,
    }
