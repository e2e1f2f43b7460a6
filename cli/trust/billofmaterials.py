"""A bill of what a stored model is made of: CycloneDX 1.6, in JSON.

The same model gives the same bytes: the serial number is made of the manifest's digest, and there
is no time but that of `SOURCE_DATE_EPOCH`.

Sources: https://cyclonedx.org/docs/1.6/json/, https://cyclonedx.org/capabilities/mlbom/
and https://reproducible-builds.org/docs/source-date-epoch/
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from olmkit import __version__
from olmkit.cli.trust.licences import find_licence, licence_title
from olmkit.modelfile.errors import ModelfileError
from olmkit.modelfile.parser import parse
from olmkit.registry.oci.reference import DEFAULT_HOST, PYPI_SCHEME, Reference, is_address

SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_MODELS: Final = {
    "weights": "the weights",
    "adapter": "an adapter",
    "projector": "the projector of images or sounds",
    "draft": "a draft model",
}
"""Roles of layers that are models themselves."""
_CONFIGURATION: Final = frozenset({"template", "chat template", "system", "params", "messages"})
_BASES_LIMIT: Final = 16
_HUB: Final = re.compile(r"hf\.co/([^/@:]+/[^@:]+)(?::[^@]+)?(?:@([0-9a-f]{40}))?")

Object = Mapping[str, Any]


def bill_of(name: str, found: Object, details: Object, *, epoch_s: int | None = None) -> Object:
    """The bill of a model by what `/api/inspect` and `/api/show` say of it.

    `epoch_s`: the time that it is to bear, in seconds since 1970; None: none.
    """
    digest = str(found["id"])
    parts = [_part(number, layer) for number, layer in enumerate(found["layers"])]
    info = details.get("model_info") or {}
    model = _model(name, found, details, info)
    metadata: dict[str, Any] = {}
    if epoch_s is not None:
        metadata["timestamp"] = datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata |= {
        "tools": {"components": [{"type": "application", "name": "olm", "version": __version__}]},
        "component": model,
    }
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name}@{digest}')}",
        "version": 1,
        "metadata": metadata,
        "components": parts,
        "dependencies": [
            {"ref": digest, "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }


def _model(name: str, found: Object, details: Object, info: Object) -> dict[str, Any]:
    reference = Reference.parse(name)
    digest = str(found["id"])
    said = details.get("details") or {}
    architecture = str(info.get("general.architecture") or said.get("family") or "")
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": digest,
        "name": f"{reference.host}/{reference.repository}",
        "version": reference.tag,
        "hashes": [_hash(digest)],
    }
    if licences := _licences(details, info):
        model["licenses"] = licences
    if reference.package is None and reference.host != DEFAULT_HOST:
        model["purl"] = _oci_purl(reference, digest)
    if ancestors := list(_bases(info)):
        model["pedigree"] = {"ancestors": ancestors}
    if origin := _origin(found.get("source")):
        model["externalReferences"] = [origin]
    parameters: dict[str, Any] = {}
    if architecture:
        parameters["modelArchitecture"] = architecture
    capabilities = [str(one) for one in details.get("capabilities") or ()]
    if capabilities:
        parameters["task"] = ", ".join(capabilities)
    if parameters:
        model["modelCard"] = {"modelParameters": parameters}
    facts = {
        "format": found.get("format"),
        "parameters": said.get("parameter_size"),
        "parameter_count": info.get("general.parameter_count"),
        "quantization": said.get("quantization_level"),
        "context_length": info.get(f"{architecture}.context_length"),
        "size_bytes": found.get("size"),
    }
    model["properties"] = [
        {"name": f"olm:{key}", "value": str(value)} for key, value in facts.items() if value
    ]
    return model


def _part(number: int, layer: Object) -> dict[str, Any]:
    """The component of one file of the model."""
    role, digest = str(layer["role"]), str(layer["digest"])
    title = str(layer.get("name") or role)
    part: dict[str, Any] = {
        "type": "machine-learning-model" if role in _MODELS else "data",
        "bom-ref": f"{number}-{digest}",
        "name": title,
        "description": _MODELS.get(role, role),
        "hashes": [_hash(digest)],
    }
    if role not in _MODELS:
        kind = "configuration" if role in _CONFIGURATION else "other"
        part["data"] = [{"type": kind, "name": title}]
    facts = {
        "role": role,
        "media_type": layer.get("media_type"),
        "size_bytes": layer.get("size"),
        "layer": layer.get("layer"),
        "from": layer.get("from"),
    }
    part["properties"] = [
        {"name": f"olm:{key}", "value": str(value)} for key, value in facts.items() if value
    ]
    return part


def _licences(details: Object, info: Object) -> list[dict[str, Any]]:
    """The licences that the layers and the weights' header name, each once."""
    texts = [
        *_texts(info.get("general.license")),
        *_texts(info.get("general.license.name")),
        *_licence_texts(details),
    ]
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        known = find_licence(text)
        name = known or licence_title(text)
        found.setdefault(name, {"license": {"id": name} if known else {"name": name}})
    return list(found.values())


def _licence_texts(details: Object) -> list[str]:
    """The texts of the licence layers, one by one: `license` has them in one piece."""
    try:
        return list(parse(str(details.get("modelfile", ""))).licenses)
    except ModelfileError:
        return _texts(details.get("license"))


def _bases(info: Object) -> Iterator[dict[str, Any]]:
    """The models that this one was made from, as the weights' header names them.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#general-metadata
    """
    count = info.get("general.base_model.count")
    if not isinstance(count, int):
        return
    for number in range(min(count, _BASES_LIMIT)):
        head = f"general.base_model.{number}."
        known = {
            key: str(info[head + key])
            for key in ("name", "version", "organization", "repo_url")
            if info.get(head + key)
        }
        if not known:
            continue
        base: dict[str, Any] = {
            "type": "machine-learning-model",
            "name": known.get("name") or known.get("repo_url") or f"base model {number}",
        }
        if "version" in known:
            base["version"] = known["version"]
        if "organization" in known:
            base["supplier"] = {"name": known["organization"]}
        if "repo_url" in known:
            address = _iri(known["repo_url"])
            base["externalReferences"] = [{"type": "distribution", "url": address}]
        yield base


def _origin(source: object) -> dict[str, Any] | None:
    """Where the model came from, with the digests of the files there."""
    if not isinstance(source, Mapping):
        return None
    reference = str(source.get("reference", ""))
    files = source.get("files") or []
    origin: dict[str, Any] = {"type": "distribution", "url": _iri(_origin_address(reference))}
    names = [str(file["name"]) for file in files]
    if names:
        origin["comment"] = ", ".join(names)[:1000]
    if len(files) == 1:
        origin["hashes"] = [_hash(str(files[0]["digest"]))]
    return origin


def _origin_address(reference: str) -> str:
    """A purl where there is a kind for it, else the address or the name."""
    if is_address(reference):
        return reference
    if reference.startswith(PYPI_SCHEME):
        package, _, version = reference.removeprefix(PYPI_SCHEME).partition("==")
        return f"pkg:pypi/{quote(package)}" + (f"@{quote(version)}" if version else "")
    if (hub := _HUB.fullmatch(reference)) is not None:
        return f"pkg:huggingface/{quote(hub[1])}" + (f"@{hub[2]}" if hub[2] else "")
    return reference


def _oci_purl(reference: Reference, digest: str) -> str:
    """Source: https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md"""
    name = reference.repository.rpartition("/")[2].lower()
    where = quote(f"{reference.host}/{reference.repository}", safe="")
    tag = "" if reference.digest else f"&tag={quote(reference.tag)}"
    return f"pkg:oci/{quote(name)}@{quote(digest, safe='')}?repository_url={where}{tag}"


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one.strip()]


def _iri(text: str) -> str:
    """The text with what no address may hold percent-encoded."""
    return quote(text, safe="!#$%&'()*+,/:;=?@[]~")
