"""A request to create a model, checked and made a recipe.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#create-a-model
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from olmkit.engine.access.caller import require_access
from olmkit.engine.api.native.types import CreateRequest
from olmkit.engine.api.state import Api
from olmkit.engine.create.assembly import Recipe
from olmkit.engine.create.pieces import require_relative
from olmkit.engine.errors import InvalidRequest, ModelNotCreatable, TemplateFailed
from olmkit.engine.gguf.tensortypes import quantization_name
from olmkit.engine.models.spec import StoredMessage
from olmkit.modelfile.errors import ModelfileError
from olmkit.modelfile.instructions import parse_version
from olmkit.registry.errors import InvalidReference
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference

_FILE_NAME: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""A GGUF file of the store that has no name of its own."""


async def recipe_of(api: Api, body: CreateRequest) -> Recipe:
    """What the request wants made.

    Raises:
        InvalidReference, InvalidDigest, InvalidRequest: the request is wrong in itself.
        ModelNotCreatable: it wants what cannot be made, or its template does not parse.
    """
    if not body.wanted:
        raise InvalidReference("no name was given", text="")
    name = Reference.parse(body.wanted)
    require_access(name)
    _require_supported(body)
    parent = None
    files, adapters = _digests(body.files), _digests(body.adapters)
    if body.from_ and _FILE_NAME.fullmatch(body.from_):
        files = {"model.gguf": Digest(body.from_)}
    elif body.from_:
        parent = await asyncio.to_thread(api.catalog.resolve, body.from_)
    quantize, draft_quantize = body.quantize or body.quantization, body.draft_quantize
    for text in filter(None, (quantize, draft_quantize)):
        quantization_name(text)
    if body.template:
        try:
            await api.renderer.check(body.template)
        except TemplateFailed as error:
            raise ModelNotCreatable(f"template error: {error}", hint=error.hint) from error
    return Recipe(
        name=name,
        parent=parent,
        files=files,
        adapters=adapters,
        drafts=_digests(body.draft_files),
        template=body.template or None,
        system=body.system or None,
        licenses=_licenses(body.license),
        parameters={k: v for k, v in (body.parameters or {}).items() if v is not None},
        messages=tuple(
            StoredMessage(role=(m.role or "").lower(), content=m.content or "")
            for m in body.messages or ()
        ),
        renderer=body.renderer or None,
        parser=body.parser or None,
        requires=_version(body.requires),
        info=body.info or {},
        quantize=quantize,
        draft_quantize=draft_quantize,
        check_load=body.try_load,
    )


def _require_supported(body: CreateRequest) -> None:
    if body.draft_quantize and not body.draft_files:
        raise InvalidRequest("--draft-quantize requires a DRAFT model", field="draft_quantize")
    if body.remote_host:
        raise ModelNotCreatable("bad remote", hint="olm runs models on this machine only")


def _digests(files: Mapping[str, str] | None) -> dict[str, Digest]:
    digests = {name: Digest(text) for name, text in (files or {}).items()}
    require_relative(digests)
    return digests


def _licenses(given: str | list[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        given = [given]
    return tuple(text for text in given or () if text)


def _version(given: str | None) -> str | None:
    if not given:
        return given
    try:
        return parse_version(given)
    except ModelfileError as error:
        raise InvalidRequest(
            "requires must be a valid semver (e.g. 0.14.0)", field="requires"
        ) from error
