"""The draft model of a model, loaded beside it; or why it is not.

A model answers without its draft as well, only slower. So whatever is wrong with a draft becomes a
note of the loaded model, not the failure of its load.
"""

from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.framing import path_of
from olmkit.engine.runner.bindings import (
    Context,
    ContextOptions,
    DeviceBytes,
    Model,
    NativeError,
    Offload,
    memory_by_device,
    take_errors,
)
from olmkit.engine.runner.process.reasons import context_failure, model_failure
from olmkit.engine.runner.protocol import Load, LoadOperation
from olmkit.engine.runner.speculation.draftmodel import DraftModel, vocabulary_problem

_ALL_LAYERS: Final = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDraft:
    """What became of a draft; all empty where the model has none."""

    model: DraftModel | None = None
    taken: list[DeviceBytes] = field(default_factory=list)
    """What it takes of each device."""
    problem: str = ""
    """Why it is not used."""


def load_draft(request: Load, model: Model, options: ContextOptions) -> LoadedDraft:
    """The draft that the request names for `model`, whose context was made with `options`.

    It lies whole where the last layers of the model lie.
    """
    if request.files.draft_path is None:
        return LoadedDraft()
    if model.has_recurrent_state:
        return _unused("the model's own state cannot go back behind a wrong guess")
    layout = request.layout
    is_cpu_only = request.mode.cpu_only or request.options.gpu_layers == 0
    take_errors()
    try:
        draft = Model(
            path_of(request.files.draft_path),
            gpu_layers=request.options.gpu_layers,
            main_gpu=request.options.main_gpu,
            use_mmap=request.options.use_mmap,
            dry_run=request.operation is LoadOperation.FIT,
            plain_buffers=request.mode.plain_buffers,
            cpu_only=is_cpu_only,
            offload=None
            if layout is None
            else Offload(layers=tuple((one.device, _ALL_LAYERS) for one in layout.shares[-1:])),
        )
    except NativeError:
        return _unused(str(model_failure(take_errors())))
    if problem := _kind_problem(draft) or vocabulary_problem(model, draft):
        draft.close()
        return _unused(problem)
    try:
        context = Context(draft, options)
    except NativeError:
        draft.close()
        return _unused(str(context_failure(take_errors())))
    return LoadedDraft(model=DraftModel(draft, context), taken=memory_by_device(draft, context))


def _kind_problem(draft: Model) -> str:
    if draft.has_recurrent_state:
        return "its state cannot go back behind a wrong guess"
    if draft.is_encoder_decoder or draft.is_diffusion or not draft.has_decoder:
        return "it does not write text token by token"
    return ""


def _unused(problem: str) -> LoadedDraft:
    return LoadedDraft(problem=f"the draft model is not used: {problem}")
