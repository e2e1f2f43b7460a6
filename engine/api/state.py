"""What the request handlers share: one `Api` an app, made by `create_app`."""

import asyncio
import weakref
from typing import Final, cast

from starlette.requests import Request

from olmkit.engine.access.doorkeeper import Doorkeeper
from olmkit.engine.access.keyfile import KeyFile
from olmkit.engine.api.openai.responsestore import ResponseStore
from olmkit.engine.api.operations.readiness import Readiness
from olmkit.engine.api.storework import Transfers
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.outputformats import OutputFormats
from olmkit.engine.chat.rendering import Renderer
from olmkit.engine.inference.tokenization import Vocabularies
from olmkit.engine.models.catalog import Catalog
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.services import Services
from olmkit.registry.oci.digest import Digest

WARM_AFTER_S: Final = 5.0


class Api:
    """The daemon's services, and what the API itself keeps."""

    def __init__(self, services: Services) -> None:
        self.services = services
        settings = services.settings
        self.doorkeeper = Doorkeeper(KeyFile(settings.home), is_exposed=settings.is_exposed)
        self.renderer = Renderer(services.templates, prefers_go=services.settings.go_template)
        self.formats = OutputFormats(self.renderer)
        self.catalog = Catalog(
            services.store,
            shortnames_path=services.settings.home / "shortnames.toml",
            inspect_template=self.renderer.inspect,
        )
        self.transfers = Transfers(services.events)
        self.responses = ResponseStore(limit=services.settings.stored_responses)
        self.vocabularies = Vocabularies(services.safeguard)
        self.readiness = Readiness(services)
        self.loads = 0
        """Archives that are coming in."""
        self.uploads: weakref.WeakValueDictionary[Digest, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        """Held while a blob comes in that an upload can go on with."""
        self._beside: list[asyncio.Task[None]] = []

    async def output_format(self, spec: ModelSpec) -> OutputFormat:
        """How the model writes thoughts and calls."""
        return await self.formats.find(spec, await self.catalog.template_facts(spec))

    def start(self) -> None:
        """Begin what goes on beside requests."""
        self._beside = [
            asyncio.create_task(self._warm()),
            asyncio.create_task(self.doorkeeper.note_uses()),
        ]

    async def _warm(self) -> None:
        await asyncio.sleep(WARM_AFTER_S)  # the request that started the daemon comes first
        await self.catalog.warm()

    async def close(self) -> None:
        """End what the API started itself."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.doorkeeper.write_uses()
        await self.transfers.close()


def api_of(request: Request) -> Api:
    """The `Api` of the app that got the request."""
    return cast(Api, request.app.state.api)
