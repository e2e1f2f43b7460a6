"""The reply to /api/show: everything about one model, as JSON and as a Modelfile.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#show-model-information
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.native.types import Details
from olmkit.engine.chat.templates.choice import Choice, TemplateKind
from olmkit.engine.framing import path_of
from olmkit.engine.gguf.draftheads import head_tensors
from olmkit.engine.gguf.header import GgufArray, GgufHeader, read_header
from olmkit.engine.models.configblob import human_count
from olmkit.engine.models.options import OptionValue, coerce
from olmkit.engine.models.spec import ModelSpec
from olmkit.modelfile import instructions as language
from olmkit.modelfile.errors import ModelfileError
from olmkit.modelfile.parameters import format_value
from olmkit.modelfile.render import render

HIDDEN_KEYS: Final = frozenset(("general.name", "tokenizer.chat_template"))
PLAIN_TEMPLATE: Final = "{{ .Prompt }}"
NAME_COLUMNS: Final = 30
MAX_ARRAY: Final = 2_000_000
"""Longer arrays are not shown; the largest vocabularies have some 260,000 words."""
ARRAY_PIECE: Final = 8192
"""Elements of a long array that are encoded at a time, so that a vocabulary takes no objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowQuestion:
    """What a request wants to see, and what it lays over the model for that."""

    verbose: bool = False
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    basename: str | None = None
    template_notes: Sequence[str] = ()
    """What is done about conversations that the template does not take."""


def show_json(
    spec: ModelSpec,
    question: ShowQuestion,
    *,
    details: Details,
    capabilities: Sequence[str],
    choice: Choice,
) -> bytes:
    """The reply's body. Blocking: with `verbose` it reads the vocabulary.

    Raises:
        InvalidRequest: an option of the question has the wrong type.
        ModelUnloadable: a file cannot be read any more.
    """
    system = question.system or spec.system
    parameters = {**spec.parameters, **coerce(question.options)}
    is_plain = choice.kind is TemplateKind.PLAIN
    members: dict[str, Any] = {
        "license": "\n".join(spec.licenses),
        "modelfile": modelfile_text(spec, system, parameters),
        "parameters": parameters_text(spec.parameters),
        "template": PLAIN_TEMPLATE if is_plain else choice.template,
        "system": system,
        "messages": [{"role": m.role, "content": m.content} for m in spec.messages],
        "requires": spec.config.requires,
        "renderer": spec.config.renderer,
        "parser": spec.config.parser,
    }
    members = {key: value for key, value in members.items() if value}
    own: dict[str, Any] = {"template": {"kind": choice.kind, "reason": choice.reason}}
    if question.template_notes:
        own["template"]["notes"] = list(question.template_notes)
    if draft := _draft(spec):
        own["draft"] = draft
    members["olm"] = own
    members |= {"details": details, "capabilities": list(capabilities)}
    if spec.modified_at is not None:
        members["modified_at"] = spec.modified_at.astimezone()
    if question.verbose:
        members["tensors"] = [
            {"name": t.name, "type": t.type_name, "shape": list(t.shape)} for t in spec.gguf.tensors
        ]
    pieces = [encode_json(members)[:-1], b',"model_info":']
    pieces += _metadata_json(spec.gguf, verbose=question.verbose, basename=question.basename)
    if spec.projectors:
        pieces.append(b',"projector_info":')
        pieces += _metadata_json(spec.projectors[0], verbose=question.verbose)
    return b"".join((*pieces, b"}"))


def _draft(spec: ModelSpec) -> dict[str, Any]:
    """What guesses for the model, in the words of `details`: the last of its draft models, else the
    head in its own file; empty where it has neither."""
    if spec.drafts:
        header = read_header(spec.drafts[-1], name=f"draft of {spec.name}")
        return {
            "family": header.architecture,
            "parameter_size": human_count(header.parameter_count),
            "quantization_level": header.quantization,
            "used": spec.draft is not None,
        }
    tensors = head_tensors(spec.gguf)
    if not tensors:
        return {}
    return {
        "family": spec.gguf.architecture,
        "parameter_size": human_count(sum(tensor.elements for tensor in tensors)),
        "quantization_level": max(tensors, key=lambda tensor: tensor.size_bytes).type_name,
        "is_head": True,
        "used": spec.files.has_draft_head,
    }


def _metadata_json(
    header: GgufHeader, *, verbose: bool, basename: str | None = None
) -> Iterator[bytes]:
    metadata = {key: value for key, value in header.metadata.items() if key not in HIDDEN_KEYS}
    metadata["general.parameter_count"] = header.parameter_count
    if basename is not None:
        metadata["general.basename"] = basename
    opening = b"{"
    for key, value in metadata.items():
        yield opening + encode_json(key) + b":"
        opening = b","
        if not isinstance(value, GgufArray | tuple):
            yield encode_json(value)
        elif not verbose or (isinstance(value, GgufArray) and value.count > MAX_ARRAY):
            yield b"null"
        else:
            yield from _array_json(header, key)
    yield b"}"


def _array_json(header: GgufHeader, key: str) -> Iterator[bytes]:
    yield b"["
    separator, piece = b"", []
    for element in header.read_array(key):
        piece.append(element)
        if len(piece) == ARRAY_PIECE:
            yield separator + encode_json(piece)[1:-1]
            separator, piece = b",", []
    if piece:
        yield separator + encode_json(piece)[1:-1]
    yield b"]"


def parameters_text(parameters: Mapping[str, OptionValue]) -> str:
    """One line a value, sorted by name; strings quoted. Clients read these lines."""
    return "\n".join(
        f"{name:<{NAME_COLUMNS}} {_literal(item)}"
        for name, value in sorted(parameters.items())
        for item in (value if isinstance(value, tuple) else (value,))
    )


def _literal(value: str | float) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else format_value(value)


def modelfile_text(spec: ModelSpec, system: str, parameters: Mapping[str, OptionValue]) -> str:
    """A Modelfile that builds the same model from the files in the store."""
    header = (
        '# Modelfile generated by "olm show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        f"# FROM {spec.name}\n\n"
    )
    commands = tuple(_instructions(spec, system, parameters))
    try:
        return header + render(language.Modelfile(instructions=commands))
    except ModelfileError as error:
        return f"{header}# {error}\n"


def _instructions(
    spec: ModelSpec, system: str, parameters: Mapping[str, OptionValue]
) -> Iterator[language.Instruction]:
    yield language.From(value=path_of(spec.files.weights_path))
    for path in spec.adapters:
        yield language.Adapter(value=str(path))
    for path in spec.drafts:
        yield language.Draft(value=str(path))
    for projector in spec.projectors:
        yield language.From(value=str(projector.path))
    for kind, text in (
        (language.Template, spec.go_template or spec.jinja_template),
        (language.System, system),
        (language.Renderer, spec.config.renderer),
        (language.Parser, spec.config.parser),
    ):
        if text:
            yield kind(value=text)
    with suppress(ModelfileError):  # Ollama's library is not held to its own rule
        if spec.config.requires:
            yield language.Requires(value=spec.config.requires)
    for name, value in sorted(parameters.items()):
        for item in value if isinstance(value, tuple) else (value,):
            yield language.Parameter(name=name, value=item)
    for text in spec.licenses:
        yield language.License(value=text)
    for message in spec.messages:
        if message.role in set(language.Role):
            yield language.Message(role=language.Role(message.role), value=message.content)
