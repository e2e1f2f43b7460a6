"""Devices of other machines, by llama.cpp's RPC backend.

The backend is part of an engine that was built with it (GGML_RPC), or a library beside the others
(`libggml-rpc.so`). RPC has neither authentication nor encryption, so nothing here happens unless
somebody names servers.

Source: llama.cpp, ggml/include/ggml-rpc.h.
"""

import ctypes
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from olmkit.engine.runner.bindings.library import NativeError, api, libraries

MOST_SERVERS: Final = 16
"""Source: ggml-rpc.h, GGML_RPC_MAX_SERVERS."""
ANSWER_S: Final = 3.0
_HELLO: Final = 14
_HELLO_BYTES: Final = 24
"""The first command of a client, and the length of what comes with it.
Source: llama.cpp, ggml/src/ggml-rpc/ggml-rpc.cpp, RPC_CMD_HELLO and rpc_msg_hello_req."""
_LIBRARY: Final = "libggml-rpc.so"


def add_servers(endpoints: Sequence[str]) -> list[str]:
    """Makes the devices of the servers (`host:port`) devices of this process, in that order.

    A server that does not answer is left out: what lies on others goes on.

    Returns:
        One sentence for each server that was left out.

    Raises:
        NativeError: the engine has no RPC backend.
    """
    backend = _backend()
    problems = []
    for endpoint in endpoints[:MOST_SERVERS]:
        if problem := _unreachable(endpoint):
            problems.append(problem)
            continue
        registry = backend.ggml_backend_rpc_add_server(endpoint.encode())
        if registry:
            api._lib.ggml_backend_register(ctypes.c_void_p(registry))
        else:
            problems.append(f"the RPC server {endpoint} has no device")
    problems += [
        f"the RPC server {endpoint} is one more than {MOST_SERVERS}"
        for endpoint in endpoints[MOST_SERVERS:]
    ]
    return problems


def _backend() -> Any:
    """The library with the RPC backend."""
    try:
        library, function = api._lib, api._lib["ggml_backend_rpc_add_server"]
    except AttributeError:
        folder = libraries().directory
        assert folder is not None
        try:
            library = ctypes.CDLL(os.fspath(folder / _LIBRARY))
            function = library["ggml_backend_rpc_add_server"]
        except (OSError, AttributeError) as error:
            raise NativeError("the engine was built without the RPC backend") from error
    function.argtypes, function.restype = [ctypes.c_char_p], ctypes.c_void_p
    library.ggml_backend_rpc_add_server = function
    return library


def _unreachable(endpoint: str) -> str:
    """Why the server cannot be used; empty: it answers. ggml itself would wait without end.

    A server has one client at a time: others are not answered until that one has gone.
    """
    host, _, port = endpoint.rpartition(":")
    hello = bytes([_HELLO]) + _HELLO_BYTES.to_bytes(8, "little") + bytes(_HELLO_BYTES)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as server:
            server.sendall(hello)
            if not server.recv(1):
                return f"the RPC server {endpoint} cannot be used: it is of another version"
            return ""
    except TimeoutError:
        return f"the RPC server {endpoint} does not answer: it may have another client"
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        return f"the RPC server {endpoint} cannot be used: {reason.lower()}"
    except (ValueError, OverflowError):
        return f"the RPC server {endpoint} cannot be used: it is no HOST:PORT"
