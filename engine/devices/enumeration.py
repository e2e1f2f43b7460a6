"""The devices there are right now, asked of the engine in a process of its own.

Listing them starts their drivers, which takes seconds, memory of every card as long as the process
lives, and may hang: so a child does it, gets a bounded time, and is gone afterwards. It runs while
the runner starts, and nothing is remembered but of servers that cannot answer: a server of another
machine has one client at a time, and one that our own runner uses says nothing to others.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from olmkit.engine.childenv import child_environment
from olmkit.engine.devices.enginesurvey import EngineSurvey, SurveyUnderWay
from olmkit.engine.devices.inventory import Device, usable_devices

ANSWER_S: Final = 30.0
"""A first start of CUDA's driver takes some seconds; one that takes longer hangs."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What can be used now, and why some of it cannot."""

    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()


class Enumerator:
    """Asks for devices whenever a model is placed."""

    def __init__(
        self,
        *,
        servers: Sequence[str] = (),
        environ: Callable[[], Mapping[str, str] | None] = lambda: None,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`servers`: of other machines, `host:port`; `environ`: the engine's; None: ours."""
        self._servers = tuple(servers)
        self._environ = environ
        self._answer_s = answer_s
        self._last: dict[str, Device] = {}

    async def devices(self, *, used: frozenset[str] = frozenset()) -> Found:
        """The devices and their free memory; those of servers that are `used` as they were."""
        free_servers = [one for one in self._servers if f"RPC[{one}]" not in used]
        given = self._environ()
        environ = child_environment(os.environ if given is None else given)
        environ["OLM_RPC"] = ",".join(free_servers)
        said = await asyncio.to_thread(self._ask, environ)
        if said.failure:
            text = f"the devices cannot be listed: the engine {said.failure}"
            log.warning(text)
            return Found(problems=(text,))
        for problem in said.problems:
            log.warning(problem)
        kept = [self._last[name] for name in used if name in self._last]
        kept = [device for device in kept if device.is_remote]
        devices = (*kept, *usable_devices(said.devices))
        self._last = {device.name: device for device in devices}
        return Found(devices=devices, problems=said.problems)

    def _ask(self, environ: Mapping[str, str]) -> EngineSurvey:
        return SurveyUnderWay(environ).result(timeout_s=self._answer_s)
