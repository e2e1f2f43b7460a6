"""Tokens of texts, and texts of tokens, without the model's weights.

A runner that reads the vocabulary alone does the work and goes, so nothing is loaded, and nothing
that is loaded is touched.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from olmkit.engine.chat.rendering import without_bos
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.runner.protocol import Loaded, LoadOperation, LoadOptions
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.supervision.steadyrunner import SteadyRunner

MAX_RUNNERS: Final = 2
"""Runners at a time that only tokenize: each is a process of some 100 MB."""


class Vocabularies:
    """Reads the vocabularies of models, a bounded number at a time."""

    def __init__(self, safeguard: Safeguard) -> None:
        self._safeguard = safeguard
        self._free = asyncio.Semaphore(MAX_RUNNERS)

    async def tokenize(self, spec: ModelSpec, text: str, *, add_special: bool) -> list[int]:
        """The token ids of a text; with `add_special`, those that a generation starts with.

        Raises:
            ModelUnloadable, RunnerDied: there is no vocabulary.
        """
        async with self._runner(spec) as (runner, loaded):
            if add_special:
                text = without_bos(text, loaded.bos_token, adds_bos=loaded.adds_bos)
            return await runner.tokenize(text, add_special=add_special)

    async def detokenize(self, spec: ModelSpec, tokens: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            ModelUnloadable, RunnerDied: there is no vocabulary.
            InvalidRequest: a number is no token of the model.
        """
        async with self._runner(spec) as (runner, _):
            return await runner.detokenize(tokens)

    @asynccontextmanager
    async def _runner(self, spec: ModelSpec) -> AsyncIterator[tuple[SteadyRunner, Loaded]]:
        async with self._free:
            runner = await SteadyRunner.start(spec.name, self._safeguard)
            try:
                options = LoadOptions(context_tokens=1)
                yield (
                    runner,
                    await runner.load(spec.files, options, operation=LoadOperation.VOCABULARY),
                )
            finally:
                await runner.close()
