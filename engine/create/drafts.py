"""Draft models, which guess what a larger model would say: stored beside it.

Whether a draft goes with the model is the runner's to say, in the dry run of every new model.
Those that read the inner state of the model they guess for are stored and not used yet: whoever
stores one is told so. Ollama decodes with them: https://github.com/ollama/ollama/issues/18517
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from olmkit.engine.create.pieces import Piece, Site, Source, piece_of, sources_of
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.models.spec import GUIDED_DRAFTS
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor

_KINDS: Final = {
    mediatypes.OLLAMA_ADAPTER: "an adapter",
    mediatypes.OLLAMA_PROJECTOR: "a projector",
}


def draft_pieces(
    files: Mapping[str, Digest], quantize: str | None, site: Site
) -> tuple[Piece, ...]:
    """The layers of the draft models that blobs of the store make; none without files.

    In the order given, for the last one counts (Ollama goes by the files' names instead).
    Safetensors are converted; `quantize` is the type of numbers that all of them get.

    Raises:
        ModelNotCreatable: a file holds no model, or is quantized already.
        ModelUnloadable: a file is no readable GGUF.
        StoreError: a file is not in the store.
    """
    if not files:
        return ()
    with sources_of(files, site, what="draft") as sources:
        drafts = [_as_draft(source) for source in sources]
        pieces = [piece_of(each, site, what="draft", type_text=quantize) for each in drafts]
    for name in sorted({one.header.architecture for one in pieces} & GUIDED_DRAFTS):
        site.tell(f"note: the draft is stored; drafts of the architecture {name} are not used yet")
    return tuple(pieces)


def with_drafts(layers: Sequence[Descriptor], pieces: Sequence[Piece]) -> tuple[Descriptor, ...]:
    """The layers with those of the drafts behind them; one that is there already moves."""
    drafts = {piece.layer.digest: piece.layer for piece in pieces}
    kept = (
        layer
        for layer in layers
        if layer.media_type != mediatypes.OLLAMA_DRAFT or layer.digest not in drafts
    )
    return (*kept, *drafts.values())


def draft_config(pieces: Sequence[Piece]) -> Mapping[str, Any] | None:
    """What a model's config says of its drafts: the last one counts. None without any."""
    if not pieces:
        return None
    return {"model_format": "gguf", "architecture": pieces[-1].header.architecture}


def _as_draft(source: Source) -> Source:
    kind = _KINDS.get(source.media_type)
    if kind is not None:
        raise ModelNotCreatable(f"{source.header.name} is {kind}: a draft has to be a model")
    return replace(source, media_type=mediatypes.OLLAMA_DRAFT)
