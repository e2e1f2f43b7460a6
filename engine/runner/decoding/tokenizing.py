"""Long texts, tokenized in a thread so that the answers under way go on.

llama.cpp reads the vocabulary only, and Python's lock is free meanwhile. A megabyte takes some
tenths of a second.
"""

from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import FailureKind

if TYPE_CHECKING:
    from queue import SimpleQueue

LONG_CHARACTERS: Final = 32_768
"""A longer text takes more than some milliseconds."""


class Tokenizing:
    """A text that is being tokenized, or waits for that."""

    def __init__(self, text: str, *, add_special: bool, parse_special: bool) -> None:
        self._text = text
        self._add_special = add_special
        self._parse_special = parse_special
        self._done = Event()
        self._tokens: list[int] = []
        self._error: Exception | None = None
        self.is_cancelled = False

    @property
    def is_done(self) -> bool:
        """`tokens` has an answer."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> None:
        """Waits until it is done, or the time is over."""
        self._done.wait(timeout_s)

    def tokens(self) -> list[int]:
        """The tokens, once they are there.

        Raises:
            RequestFailed: the text cannot be tokenized, or nobody wanted it any more.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._tokens

    def run(self, model: Model) -> None:
        """Does it, in the thread."""
        try:
            if self.is_cancelled:
                raise RequestFailed(FailureKind.CANCELLED, "the request was cancelled")
            self._tokens = model.tokenize(
                self._text, add_special=self._add_special, parse_special=self._parse_special
            )
        except Exception as error:
            self._error = error
        self._text = ""
        self._done.set()


class TokenizingThread:
    """Tokenizes one text after the other; starts with the first, sleeps when there is none."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Tokenizing, Model]] | None = None

    def submit(
        self, model: Model, text: str, *, add_special: bool, parse_special: bool
    ) -> Tokenizing:
        """Begins with a text."""
        if self._queue is None:
            self._queue = self._start()
        one = Tokenizing(text, add_special=add_special, parse_special=parse_special)
        self._queue.put((one, model))
        return one

    def _start(self) -> "SimpleQueue[tuple[Tokenizing, Model]]":
        from queue import SimpleQueue

        queue: SimpleQueue[tuple[Tokenizing, Model]] = SimpleQueue()

        def work() -> None:
            while True:
                one, model = queue.get()
                one.run(model)

        Thread(target=work, name="tokenizing", daemon=True).start()
        return queue
