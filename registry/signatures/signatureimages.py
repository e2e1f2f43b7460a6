"""The images that signatures lie in, as cosign makes them: a layer for each.

Each layer is a payload, with the signature over it among the layer's annotations.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Final

from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.signatures.evidence import Signature

ANNOTATION: Final = "dev.cosignproject.cosign/signature"
_SIGNATURE_LIMIT_CHARS: Final = 8192
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_NEVER: Final = "0001-01-01T00:00:00Z"


def tag_of(digest: Digest) -> str:
    """The tag under which the signatures of a manifest lie, in its own repository."""
    return f"{digest.file_name}.sig"


def layer_of(signature: Signature) -> Descriptor:
    """The layer that holds a signature; its blob is the payload."""
    return Descriptor(
        media_type=mediatypes.SIMPLE_SIGNING,
        digest=Digest.of(signature.payload),
        size_bytes=len(signature.payload),
        annotations={ANNOTATION: base64.b64encode(signature.signature).decode()},
    )


def image_of(layers: Sequence[Descriptor]) -> tuple[bytes, Manifest]:
    """The config and the manifest of the image of these layers."""
    config = {
        "architecture": "",
        "created": _NEVER,
        "history": [{"created": _NEVER}] * len(layers),
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(one.digest) for one in layers]},
        "config": {},
    }
    raw = json.dumps(config, separators=(",", ":")).encode()
    described = Descriptor(media_type=_CONFIG, digest=Digest.of(raw), size_bytes=len(raw))
    return raw, Manifest.build(described, layers, media_type=mediatypes.OCI_MANIFEST)


def signatures_in(
    layers: Sequence[Descriptor], payload_of: Callable[[Descriptor], bytes | None], *, limit: int
) -> list[Signature]:
    """The signatures of the first `limit` layers; those that hold none are passed over.

    `payload_of` gives the blob of a layer, None where it cannot be had.
    """
    return [
        Signature(payload=payload, signature=signature)
        for layer in layers[: max(0, limit)]
        if (signature := _signature(layer)) is not None
        and (payload := payload_of(layer)) is not None
    ]


def _signature(layer: Descriptor) -> bytes | None:
    """The signature that a layer bears; None: it bears none."""
    text = layer.annotations.get(ANNOTATION, "")
    is_one = layer.media_type == mediatypes.SIMPLE_SIGNING
    if not is_one or not text or len(text) > _SIGNATURE_LIMIT_CHARS:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
