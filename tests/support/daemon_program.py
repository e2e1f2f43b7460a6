"""`daemon.run` with a small API in place of olm's, for tests of the daemon's life alone.

`daemon_program.py DRAIN_S`: how long a shutdown waits for answers under way.

`/api/version` answers; `/slow?S` answers after S seconds; `/stream` sends a line every 20 ms for
ever; `/lease` holds a lease of the pool until the request ends and streams its completion.
"""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from olmkit.engine.daemon import run
from olmkit.engine.errors import EngineError
from olmkit.engine.runner.protocol import LoadOptions, Piece
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings
from olmkit.registry.errors import Cancelled
from support.filespec import spec_of

COMMAND = (sys.executable, str(Path(__file__)))


def make_app(services: Services) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        work = asyncio.create_task(answer(services, scope, send))
        gone = asyncio.create_task(disconnected(receive))
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        gone.cancel()
        await asyncio.wait((work, gone))

    return app


async def disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer(services: Services, scope: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})

    async def write(text: str, *, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

    match scope["path"]:
        case "/slow":
            await asyncio.sleep(float(scope["query_string"]))
        case "/stream":
            while True:
                await write("line\n")
                await asyncio.sleep(0.02)
        case "/lease":
            await generate(services, Path(scope["query_string"].decode()), write)
    await write("done\n", more=False)


async def generate(services: Services, model: Path, write: Any) -> None:
    try:
        async with (
            services.pool.lease(spec_of(model), LoadOptions(context_tokens=0)) as lease,
            aclosing(lease.runner.complete("Once upon a time", ignore_eos=True)) as batches,
        ):
            async for replies in batches:
                for piece in replies:
                    if isinstance(piece, Piece):
                        await write(piece.text + "\n")
    except (EngineError, Cancelled) as error:
        await write(f"error: {type(error).__name__}\n")


if __name__ == "__main__":
    run(Settings.from_environment(), make_app=make_app, drain_s=float(sys.argv[1]))
