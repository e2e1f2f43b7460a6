"""What the request handlers share: one `Api` an app, made by `create_app`."""

from typing import cast

from starlette.requests import Request

from olmkit.engine.api.transfers import Transfers
from olmkit.engine.chat.rendering import Renderer
from olmkit.engine.models.catalog import Catalog
from olmkit.engine.services import Services


class Api:
    """The daemon's services, and what the API itself keeps."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.renderer = Renderer(services.templates)
        self.catalog = Catalog(
            services.store,
            shortnames_path=services.settings.home / "shortnames.toml",
            inspect_template=self.renderer.inspect,
        )
        self.transfers = Transfers()

    async def close(self) -> None:
        """End what the API started itself."""
        await self.transfers.close()


def api_of(request: Request) -> Api:
    """The `Api` of the app that got the request."""
    return cast(Api, request.app.state.api)
