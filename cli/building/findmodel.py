"""A model that is asked for: from the store, or pulled into it."""

from olmkit.cli.building.fetch import fetch
from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client
from olmkit.engine.client.replies import ModelDetails
from olmkit.engine.errors import ApiError


def find_model(
    client: Client,
    name: str,
    terminal: Terminal,
    *,
    insecure: bool = False,
    quant: str = "",
    pulls: bool = True,
) -> ModelDetails:
    """The details of the model, which is pulled if the store lacks it, or lacks the file whose
    digest its address names; with `pulls` false, what the store lacks is an error."""
    wanted, near = None, None
    if name.startswith("http"):
        from olmkit.registry.oci.reference import address_digest

        wanted = address_digest(name)
    try:
        if wanted is None or _has_layer(client, name, wanted):
            return client.show(name)
        if not pulls:
            raise NotFound(f"the store has no model {name!r}")
    except ApiError as error:
        if name.startswith(("oci:", "oci-archive:")):
            text = f"{name!r} is a layout, which holds models under names of their own"
            hint = f"`olm pull {name}` brings them; then run one by its name"
            raise UsageError(text, hint=hint) from error
        if error.status != 404 or name.startswith("sha256:") or not pulls:
            raise
        near = error.hint
    try:
        fetch(client, name, terminal, insecure=insecure, quant=quant)
    except ApiError as error:
        if near is None or error.hint:
            raise
        raise ApiError(str(error), status=error.status, code=error.code, hint=near) from error
    return client.show(name)


def _has_layer(client: Client, name: str, digest: str) -> bool:
    from olmkit.engine.client.storereplies import inspect

    return any(layer["digest"] == digest for layer in inspect(client, name)["layers"])
