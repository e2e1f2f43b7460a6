"""ggml's search for the highest of many logits, where they lie.

One operation finds the places of the highest, another looks them up. All that is found becomes
candidates at once: what Python does for each output would hold up all threads that search.
"""

import ctypes
from array import array
from dataclasses import dataclass
from typing import Final

from olmkit.engine.runner.bindings.devices import find_devices, function
from olmkit.engine.runner.bindings.sampler import Candidates

NUMBER_BYTES: Final = 4
"""Of a logit or a token."""
_MOST_KNOWN: Final = 16
_ALIGNMENT: Final = 64
"""ggml's, for the beginning of a buffer."""
_F32: Final = 0
_TENSORS: Final = 4
_SPARE_BYTES: Final = 1 << 10

_handle: Final = ctypes.c_void_p
_bool: Final = ctypes.c_bool


class _Memory(ctypes.Structure):
    """`struct ggml_init_params`."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("holds_no_data", ctypes.c_bool),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """Operations over memory of others, and memory of ours for what they find."""

    graph: int
    context: int
    buffers: list[int]
    tokens: memoryview
    logits: "memoryview[float]"


class LikeliestSearch:
    """Searches outputs that lie one after the other, and has room for what it finds."""

    def __init__(self) -> None:
        (device,) = find_devices(["CPU"])
        self._backend = function("ggml_backend_dev_init", _handle, _handle, _handle)(device, None)
        registry = function("ggml_backend_dev_backend_reg", _handle, _handle)(device)
        find = function("ggml_backend_reg_get_proc_address", _handle, _handle, ctypes.c_char_p)
        address = find(registry, b"ggml_backend_set_n_threads")
        self._use_threads = ctypes.CFUNCTYPE(None, _handle, ctypes.c_int)(address)
        self._compute = function("ggml_backend_graph_compute", ctypes.c_int, _handle, _handle)
        self._known: dict[tuple[int, ...], _Graph] = {}
        """By their numbers."""
        self._candidates = Candidates(1)

    def close(self) -> None:
        """Frees the searches."""
        self._forget()
        function("ggml_backend_free", None, _handle)(self._backend)

    def highest(
        self, address: int, size: int, outputs: int, pieces: int, count: int, threads: int
    ) -> Candidates:
        """The `count` likeliest tokens of each piece of each output, one output after the other.

        The logits of the first one, of so many tokens each, lie at the address. They are valid
        until the next search.
        """
        key = (address, size // pieces, outputs * pieces, count)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._forget()
            known = self._known[key] = _planned(*key)
        self._use_threads(self._backend, threads)
        self._compute(self._backend, known.graph)
        if pieces > 1:
            _count_from_outputs(known.tokens, size // pieces, pieces, count)
        if self._candidates.capacity < len(known.tokens):
            self._candidates = Candidates(len(known.tokens))
        self._candidates.write(known.tokens, known.logits)
        return self._candidates

    def _forget(self) -> None:
        free_buffer = function("ggml_backend_buffer_free", None, _handle)
        free = function("ggml_free", None, _handle)
        for known in self._known.values():
            for buffer in known.buffers:
                free_buffer(buffer)
            free(known.context)
        self._known.clear()


def _count_from_outputs(tokens: memoryview, length: int, pieces: int, count: int) -> None:
    """Makes places in pieces of so many tokens places in the outputs that the pieces are of."""
    for start in range(0, len(tokens), count):
        if first := start // count % pieces * length:
            shifted = array("i", [first + place for place in tokens[start : start + count]])
            tokens[start : start + count] = memoryview(shifted)


def _planned(address: int, length: int, rows: int, count: int) -> _Graph:
    """The search for the `count` highest of each row of so many numbers, in no order."""
    graph_bytes = function("ggml_graph_overhead_custom", ctypes.c_size_t, ctypes.c_size_t, _bool)
    tensor_bytes = function("ggml_tensor_overhead", ctypes.c_size_t)()
    size = graph_bytes(_TENSORS, False) + _TENSORS * tensor_bytes + _SPARE_BYTES
    context = function("ggml_init", _handle, _Memory)(_Memory(size, None, True))
    numbers = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    new_tensor = function("ggml_new_tensor_3d", _handle, _handle, *numbers)
    searched = new_tensor(context, _F32, length, rows, 1)
    looked_up = new_tensor(context, _F32, 1, length, rows)
    places = function("ggml_top_k", _handle, _handle, _handle, ctypes.c_int)(
        context, searched, count
    )
    values = function("ggml_get_rows", _handle, _handle, _handle, _handle)(
        context, looked_up, places
    )
    new_graph = function("ggml_new_graph_custom", _handle, _handle, ctypes.c_size_t, _bool)
    graph = new_graph(context, _TENSORS, False)
    function("ggml_build_forward_expand", None, _handle, _handle)(graph, values)
    found = [bytearray(NUMBER_BYTES * rows * count) for _ in range(2)]
    tokens_start, logits_start = (
        ctypes.addressof(ctypes.c_byte.from_buffer(numbers)) for numbers in found
    )
    wrap = function("ggml_backend_cpu_buffer_from_ptr", _handle, _handle, ctypes.c_size_t)
    place = function("ggml_backend_tensor_alloc", ctypes.c_int, _handle, _handle, _handle)
    buffers = []
    for tensor, start, many in (
        (searched, address, length * rows),
        (looked_up, address, length * rows),
        (places, tokens_start, count * rows),
        (values, logits_start, count * rows),
    ):
        begin = start - start % _ALIGNMENT
        buffers.append(wrap(begin, start - begin + NUMBER_BYTES * many + _ALIGNMENT))
        place(buffers[-1], tensor, start)
    return _Graph(
        graph=graph,
        context=context,
        buffers=buffers,
        tokens=memoryview(found[0]).cast("i"),
        logits=memoryview(found[1]).cast("f"),
    )
