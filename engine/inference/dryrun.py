"""Whether a model loads, without loading it: llama.cpp reads all but the numbers."""

from typing import Final

from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.runner.protocol import LoadOperation, LoadOptions
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.supervision.steadyrunner import SteadyRunner

_CONTEXT_TOKENS: Final = 64


async def require_loadable(spec: ModelSpec, safeguard: Safeguard) -> None:
    """Nothing, if a runner would load the model; takes a process for a second or two.

    Header, vocabulary and the shape of every tensor are checked as in a load; no memory is taken
    for them, and adapters are not looked at. A draft model must go with the model.

    Raises:
        ModelNotCreatable: it would not, with llama.cpp's reason.
        RunnerDied, OutOfMemory: the process ended.
    """
    runner = await SteadyRunner.start(spec.name, safeguard)
    try:
        options = LoadOptions(context_tokens=_CONTEXT_TOKENS, sequences=1, threads=1)
        loaded = await runner.load(spec.files, options, operation=LoadOperation.FIT)
        for note in loaded.notes:
            raise ModelNotCreatable(note)
    except ModelUnloadable as error:
        raise ModelNotCreatable(
            f"{spec.name} could not be loaded: {error}", hint=error.hint
        ) from error
    finally:
        await runner.close()
