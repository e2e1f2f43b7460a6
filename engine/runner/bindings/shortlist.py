"""The likeliest tokens of a step, found without a row for each token of the vocabulary.

A chain that begins with top-k looks at k tokens in the end, but llama.cpp first copies all of them
into rows of 12 bytes, three megabytes for 262k tokens, and then goes over those in one thread. ggml
has an operation that finds the k highest of many numbers where they lie: for the outputs of all
requests at once, by the threads of a decode step, which still wait in a loop for more. The tokens
that are drawn are the same. 262k tokens take 0.26 ms on two cores instead of 0.69.
"""

import ctypes
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from olmkit.engine.runner.bindings.devices import find_devices, function
from olmkit.engine.runner.bindings.sampler import Candidates, Sampler

_MOST_TOKENS: Final = 512
"""Longer lists save little: they are written by Python."""
_MOST_PIECES: Final = 8
"""Of one output, each searched by a thread: every piece brings as many tokens as the whole."""
_MOST_SPREAD: Final = 2
"""Outputs from the first to the last one that is wanted, for each of those that are."""
_KNOWN_SEARCHES: Final = 16
_ALIGNMENT: Final = 64
"""ggml's, for the beginning of a buffer."""
_FLOAT_BYTES: Final = 4
_F32: Final = 0
_NODES: Final = 4
_SPARE_BYTES: Final = 1 << 10

_handle: Final = ctypes.c_void_p
_bool: Final = ctypes.c_bool

Spread = Callable[[Callable[[int], list[int]], Sequence[int]], Iterable[list[int]]]
"""Runs a function on each of several numbers, as `map` does, or threads."""


class Outputs(Protocol):
    """Where the logits of a step lie, as `Context` tells it."""

    def logits_address(self, index: int) -> int:
        """Where the logits of an output lie; those of all outputs lie one after the other."""

    def logits_from(self, address: int, outputs: int) -> Any:
        """The logits of so many outputs from an address on, as a ctypes array."""


class Shortlist:
    """Searches the outputs of steps of one model."""

    def __init__(self, vocabulary_tokens: int) -> None:
        self._size = vocabulary_tokens
        self._searches: list[_Search] = []

    def close(self) -> None:
        """Frees what the searches hold."""
        for search in self._searches:
            search.close()
        self._searches.clear()

    def can_serve(self, sampler: Sampler) -> bool:
        """Whether the chain looks at few enough tokens."""
        return 0 < sampler.looked_at_tokens <= min(_MOST_TOKENS, self._size)

    def choose(
        self, sampler: Sampler, outputs: Outputs, index: int, *, threads: int = 1
    ) -> int | None:
        """A token from the output at a batch index, without accepting it.

        None where the chain looks at too many tokens.
        """
        if not self.can_serve(sampler):
            return None
        return self.choose_each([(sampler, index)], outputs, threads=threads)[0]

    def choose_each(
        self,
        wanted: Sequence[tuple[Sampler, int]],
        outputs: Outputs,
        *,
        threads: int = 1,
        parts: int = 1,
        spread: Spread = map,
    ) -> Sequence[int | None]:
        """As `choose`, for several outputs of one step whose samplers it `can_serve`.

        `threads`: llama.cpp's. With more than one part each is searched by a thread of `spread`
        instead. None for all where the outputs lie too far from each other.
        """
        row_bytes = _FLOAT_BYTES * self._size
        places = [(outputs.logits_address(index), sampler) for sampler, index in wanted]
        addresses = [address for address, _ in places]
        if (max(addresses) - min(addresses)) // row_bytes + 1 > _MOST_SPREAD * len(places):
            return [None] * len(places)
        while len(self._searches) < parts:
            self._searches.append(_Search())
        length = -(-len(places) // parts)
        shares = [places[start : start + length] for start in range(0, len(places), length)]

        def choose_share(number: int) -> list[int]:
            search = self._searches[number]
            return self._choose(shares[number], outputs, search, threads if parts == 1 else 1)

        return [token for share in spread(choose_share, range(len(shares))) for token in share]

    def _choose(
        self,
        places: Sequence[tuple[int, Sampler]],
        outputs: Outputs,
        search: "_Search",
        threads: int,
    ) -> list[int]:
        """A token for each of some samplers, whose outputs lie at those addresses."""
        size = self._size
        first = min(address for address, _ in places)
        rows = [(address - first) // (_FLOAT_BYTES * size) for address, _ in places]
        count = max(rows) + 1
        keep = max(sampler.looked_at_tokens for _, sampler in places)
        pieces = min(threads // count, _MOST_PIECES)
        while pieces > 1 and (size % pieces or size // pieces < keep):
            pieces -= 1
        pieces = max(pieces, 1)
        length = size // pieces
        found = search.highest(first, length, pieces * count, keep, threads)
        logits = outputs.logits_from(first, count)
        tokens = []
        for row, (_, sampler) in zip(rows, places, strict=True):
            start = row * pieces * keep
            listed = found[start : start + keep]
            for piece in range(1, pieces):
                start += keep
                listed += [piece * length + token for token in found[start : start + keep]]
            base = row * size
            values = array("f", [logits[base + token] for token in listed])
            search.candidates.write(array("i", listed), values)
            tokens.append(sampler.choose(search.candidates, len(listed)))
        return tokens


class _Memory(ctypes.Structure):
    """`struct ggml_init_params`."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("holds_no_data", ctypes.c_bool),
    ]


class _Search:
    """ggml's search for the highest numbers of rows, and room for what it finds."""

    def __init__(self) -> None:
        (device,) = find_devices(["CPU"])
        self._backend = function("ggml_backend_dev_init", _handle, _handle, _handle)(device, None)
        registry = function("ggml_backend_dev_backend_reg", _handle, _handle)(device)
        find = function("ggml_backend_reg_get_proc_address", _handle, _handle, ctypes.c_char_p)
        address = find(registry, b"ggml_backend_set_n_threads")
        self._use_threads = ctypes.CFUNCTYPE(None, _handle, ctypes.c_int)(address)
        self._compute = function("ggml_backend_graph_compute", ctypes.c_int, _handle, _handle)
        self._known: dict[tuple[int, ...], tuple[list[int], int, Any]] = {}
        """By their numbers: what to free, the graph, and the tokens that it finds."""
        self.candidates = Candidates(_MOST_PIECES * _MOST_TOKENS)

    def close(self) -> None:
        """Frees the searches."""
        self._forget()
        function("ggml_backend_free", None, _handle)(self._backend)

    def highest(self, address: int, length: int, rows: int, count: int, threads: int) -> Any:
        """The places of the `count` highest of each row of so many numbers, in no order."""
        key = (address, length, rows, count)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KNOWN_SEARCHES:
                self._forget()
            known = self._known[key] = _planned(address, length, rows, count)
        self._use_threads(self._backend, threads)
        self._compute(self._backend, known[1])
        return known[2]

    def _forget(self) -> None:
        free_buffer = function("ggml_backend_buffer_free", None, _handle)
        free = function("ggml_free", None, _handle)
        for (memory, *buffers), _, _ in self._known.values():
            for buffer in buffers:
                free_buffer(buffer)
            free(memory)
        self._known.clear()


def _planned(address: int, length: int, rows: int, count: int) -> tuple[list[int], int, Any]:
    """A graph of one operation over numbers of others, and where it writes what it finds."""
    graph_bytes = function("ggml_graph_overhead_custom", ctypes.c_size_t, ctypes.c_size_t, _bool)
    tensor_bytes = function("ggml_tensor_overhead", ctypes.c_size_t)()
    size = graph_bytes(_NODES, False) + _NODES * tensor_bytes + _SPARE_BYTES
    memory = function("ggml_init", _handle, _Memory)(_Memory(size, None, True))
    numbers = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    new_tensor = function("ggml_new_tensor_2d", _handle, _handle, *numbers)
    read = new_tensor(memory, _F32, length, rows)
    written = function("ggml_top_k", _handle, _handle, _handle, ctypes.c_int)(memory, read, count)
    new_graph = function("ggml_new_graph_custom", _handle, _handle, ctypes.c_size_t, _bool)
    graph = new_graph(memory, _NODES, False)
    function("ggml_build_forward_expand", None, _handle, _handle)(graph, written)
    found = (ctypes.c_int32 * (rows * count))()
    owned = [memory]
    wrap = function("ggml_backend_cpu_buffer_from_ptr", _handle, _handle, ctypes.c_size_t)
    place = function("ggml_backend_tensor_alloc", ctypes.c_int, _handle, _handle, _handle)
    for tensor, start, count_bytes in (
        (read, address, _FLOAT_BYTES * length * rows),
        (written, ctypes.addressof(found), ctypes.sizeof(found)),
    ):
        begin = start - start % _ALIGNMENT
        owned.append(wrap(begin, start - begin + count_bytes + _ALIGNMENT))
        place(owned[-1], tensor, start)
    return owned, graph, found
