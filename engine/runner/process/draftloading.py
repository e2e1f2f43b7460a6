"""What guesses for a model, loaded beside it: a draft model, or the head in its own file; or why it
is not.

A model answers without its draft as well, only slower. So whatever is wrong with a draft becomes a
note of the loaded model, not the failure of its load.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from olmkit.engine.framing import path_of
from olmkit.engine.runner.bindings import (
    Context,
    ContextOptions,
    DeviceBytes,
    Model,
    NativeError,
    Offload,
    can_compute_heads,
    memory_by_device,
    take_errors,
)
from olmkit.engine.runner.loadoptions import HEAD_BATCH_TOKENS
from olmkit.engine.runner.process.reasons import context_failure, model_failure
from olmkit.engine.runner.protocol import Load, LoadOperation
from olmkit.engine.runner.speculation.drafter import Drafter
from olmkit.engine.runner.speculation.drafthead import DraftHead
from olmkit.engine.runner.speculation.draftmodel import DraftModel, vocabulary_problem

_ALL_LAYERS: Final = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDraft:
    """What became of a draft; all empty where the model has none."""

    drafter: Drafter | None = None
    taken: list[DeviceBytes] = field(default_factory=list)
    """What it takes of each device."""
    problem: str = ""
    """Why it is not used."""


def wants_head(request: Load) -> bool:
    """Whether the model is to be loaded with its head."""
    is_wanted = request.files.has_draft_head and request.files.draft_path is None
    return is_wanted and not request.options.embedding and can_compute_heads()


def load_draft(request: Load, model: Model, target: Context) -> LoadedDraft:
    """What the request names to guess for `model`, which runs in the context `target`.

    A draft model lies whole where the last layers of the model lie.
    """
    options = replace(target.options, draft_tokens=0, streams=None)
    if request.files.draft_path is None:
        return _head(request, model, target, options)
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
    return LoadedDraft(drafter=DraftModel(draft, context), taken=memory_by_device(draft, context))


def _head(request: Load, model: Model, target: Context, options: ContextOptions) -> LoadedDraft:
    """The head of the model's own file: its weights were loaded with the model's."""
    if not request.files.has_draft_head:
        return LoadedDraft()
    if not wants_head(request):
        return _unused("this llama.cpp cannot compute it", what="the model's own draft head")
    batch_tokens = max(min(options.batch_tokens, HEAD_BATCH_TOKENS), options.sequences)
    take_errors()
    try:
        context = Context(model, replace(options, batch_tokens=batch_tokens, is_of_head=True))
    except NativeError:
        reason = str(context_failure(take_errors()))
        return _unused(reason, what="the model's own draft head")
    target.keep_states()
    context.keep_states()
    taken = [
        replace(one, weights_bytes=0, repacked_bytes=0) for one in memory_by_device(model, context)
    ]
    # llama.cpp makes room for the states of a whole step, and tells nothing of it.
    states_bytes = target.batch_tokens * target.head_state_bytes
    taken.append(DeviceBytes(device="CPU", weights_bytes=0, kv_bytes=0, compute_bytes=states_bytes))
    return LoadedDraft(drafter=DraftHead(model, context), taken=taken)


def _kind_problem(draft: Model) -> str:
    if draft.has_recurrent_state:
        return "its state cannot go back behind a wrong guess"
    if draft.is_encoder_decoder or draft.is_diffusion or not draft.has_decoder:
        return "it does not write text token by token"
    return ""


def _unused(problem: str, *, what: str = "the draft model") -> LoadedDraft:
    return LoadedDraft(problem=f"{what} is not used: {problem}")
