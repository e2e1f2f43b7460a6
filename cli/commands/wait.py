"""`olm wait`: until models are loaded, or unloaded."""

import contextlib
import enum
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.oneshot.deadline import deadline, parse_timeout
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon
from olmkit.engine.client import Client
from olmkit.engine.client.eventreplies import follow_events
from olmkit.engine.client.loadedmodels import Digests, serving
from olmkit.engine.errors import ApiError, DaemonNotRunning, ModelUnloadable


class Condition(enum.StrEnum):
    """What is waited for."""

    LOADED = "loaded"
    UNLOADED = "unloaded"

    def counts(self, state: str) -> bool:
        """Whether a model in that state is loaded, for this condition; empty: nobody says."""
        return self is Condition.UNLOADED or state in ("ready", "")


def wait(
    models: Annotated[list[str], Argument(metavar="MODEL...", help="Names of models.")],
    for_: Annotated[
        Condition, Option("--for", metavar="loaded|unloaded", help="What to wait for.")
    ] = Condition.LOADED,
    timeout: Annotated[
        str, Option("--timeout", metavar="TIME", help="Give up, and exit with 10: 90s, 5m.")
    ] = "",
) -> None:
    """Wait until all of the models are loaded and ready, or until none of them is loaded.

    Waiting loads and unloads nothing. A load that fails meanwhile ends it with exit status 7.
    """
    terminal = Terminal()
    client = daemon(terminal, start=False)
    with deadline(parse_timeout(timeout), what=f"not {for_.value}"):
        try:
            _until(client, models, for_)
        except DaemonNotRunning:
            # With its daemon every model went.
            if for_ is Condition.LOADED or not client.address.is_local:
                raise


def _until(client: Client, models: list[str], condition: Condition) -> None:
    """Returns when the condition holds.

    Raises:
        ModelUnloadable: a load that was waited for failed.
        DaemonNotRunning: the daemon ended first.
    """
    wanted = {serving(client, model) for model in models}
    # Opened first: what changes after the question below is in the events.
    with contextlib.closing(follow_events(client, filters=[("type", "model")])) as events:
        if _holds(client, wanted, condition):
            return
        for event in events:
            if event.action == "load_failed" and condition is Condition.LOADED:
                reason = str(event.attributes.get("error", ""))
                if _failed(client, event.model) in wanted:
                    raise ModelUnloadable(reason, model=event.model)
            elif _holds(client, wanted, condition):
                return
    raise DaemonNotRunning("the daemon has ended", address=client.address.url)


def _holds(client: Client, wanted: set[Digests], condition: Condition) -> bool:
    loaded = {one.serves for one in client.running() if condition.counts(one.state)}
    return wanted <= loaded if condition is Condition.LOADED else not wanted & loaded


def _failed(client: Client, name: str) -> Digests:
    """Of a model that was not loaded; empty for what is not stored, such as a file."""
    try:
        return serving(client, name)
    except ApiError:
        return ()
