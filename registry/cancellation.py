"""Work that is called off while another thread does it."""

import threading
import weakref
from collections.abc import Callable


class Cancellation(threading.Event):
    """An event that also calls whoever asked to be called when it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._lock = threading.Lock()

    def call(self, callback: Callable[[], None]) -> None:
        """Have a method called when this is set, at once if it is; its object is not kept alive."""
        with self._lock:
            self._callbacks.append(weakref.WeakMethod(callback))
        if self.is_set():
            callback()

    def set(self) -> None:
        """Set it, and call."""
        super().set()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for reference in callbacks:
            if (callback := reference()) is not None:
                callback()
