"""`olm diff`: in what two models differ, and whether they answer alike."""

from typing import Annotated

from typer import Argument, Option

from olmkit.cli.errors import ExpectationFailed
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.records.dataform import data_form
from olmkit.cli.records.recordlist import show_value
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.settings import client_of, load_settings
from olmkit.cli.testing.modeldiff import Difference, answer_differences, differences, lines
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import inspect
from olmkit.engine.settings import Settings


def diff(
    left: Annotated[str, Argument(metavar="MODEL", help="The one: a name, ID or digest.")],
    right: Annotated[str, Argument(metavar="MODEL", help="The other.")],
    suite: Annotated[
        str,
        Option("--suite", metavar="FILE", help="Compare the answers to a suite of `olm test` too."),
    ] = "",
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Show in what two models differ: layers, parameters, template, texts, metadata, answers.

    Ends with 0 if nothing differs and with 14 if something does; other codes are failures, so
    that a script can tell the two apart.

    With --suite both models are asked each question; its expectations count for nothing here.
    """
    form = data_form(format=format, json=json)
    terminal = Terminal()
    settings = load_settings(terminal)
    client = client_of(settings, terminal)
    stored = inspect(client, left), inspect(client, right)
    found = differences(
        client.show(_name(stored[0], left)), client.show(_name(stored[1], right)), *stored
    )
    if suite:
        found += _answers(client, settings, terminal, suite, (left, right))
    record = {
        "left": {"model": left, "digest": stored[0]["id"]},
        "right": {"model": right, "digest": stored[1]["id"]},
        "same": not found,
        "differences": [one.as_json() for one in found],
    }

    def show() -> None:
        if found:
            terminal.data(f"--- {visible(left)}\n+++ {visible(right)}\n")
            terminal.data("".join(f"{visible(line)}\n" for line in lines(found)))

    show_value(record, form, terminal, show)
    if found:
        sections = dict.fromkeys(one.section for one in found)
        raise ExpectationFailed(f"the models differ in {', '.join(sections)}")


def _name(stored: dict[str, object], given: str) -> str:
    """A name that `/api/show` takes: an ID is none."""
    names = stored.get("names")
    return str(names[0]) if isinstance(names, list) and names else given


def _answers(
    client: Client, settings: Settings, terminal: Terminal, file: str, models: tuple[str, str]
) -> list[Difference]:
    """What the models answer otherwise. Raises: what kept an answer away."""
    from olmkit.cli.testing.suitefile import read_suite
    from olmkit.cli.testing.trials import Trials
    from olmkit.cli.testing.variants import Variant

    cases = read_suite(file).cases
    trials = Trials(client, settings, terminal, pulls=False, retries=0)
    results = [list(trials.run([Variant(label=model, source=model)], cases)) for model in models]
    for result in (*results[0], *results[1]):
        if result.error is not None:
            raise result.error
    return answer_differences(*results)
