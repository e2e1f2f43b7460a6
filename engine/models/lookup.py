"""Stored models by whatever names them: a name, the ID that listings show, or a digest.

A name wins over an ID that is spelled the same. All of it is blocking file work.
"""

import re
from typing import Final

from olmkit.engine.access.caller import current
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.models.catalog import Catalog
from olmkit.registry.errors import InvalidReference, ModelNotFound
from olmkit.registry.store.store import Store, StoredModel

_ID: Final = re.compile(r"(sha256:)?[0-9a-fA-F]{4,64}")


def find_models(catalog: Catalog, store: Store, text: str) -> list[StoredModel]:
    """The model of a name, alone; or all names of the model with that ID or digest.

    Raises:
        ModelNotFound: there is none.
        InvalidRequest: the ID is that of several models.
        InvalidReference: neither a name nor an ID.
        StoreError, InvalidManifest: the store cannot be read.
    """
    try:
        return [catalog.load(text)]
    except (InvalidReference, ModelNotFound):
        if _ID.fullmatch(text) is None:
            raise
    models = [model for model in store.with_id(text) if current().may_use(model.reference)]
    if not models:
        raise ModelNotFound(f"model '{text}' not found", name=text)
    if len({model.manifest_digest for model in models}) > 1:
        names = ", ".join(model.reference.short for model in models[:5])
        raise InvalidRequest(f"the ID {text} is that of several models: {names}", field="model")
    return models
