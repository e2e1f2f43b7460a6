"""Tokens a second through the whole HTTP stack: olm against llama-server.

Same llama.cpp commit, model, threads, prompt and sampling; streamed; the rate is that of the
client's clock between the first and the last chunk. Rounds alternate, medians are compared.
"""

import json
import threading
import time
import urllib.request
from collections.abc import Callable

from anchors import Server, demo_home, llama_daemon, olm_daemon, weights
from report import Row, median

ROUNDS = 5
TOKENS = 128
THREADS = 2
PROMPT = "The history of the sea and of the people who sail it begins long before writing. " * 4


def _lines(server: Server, path: str, body: object) -> list[tuple[float, bytes]]:
    """Lines of a streamed answer with the second at which each arrived."""
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    lines = []
    with urllib.request.urlopen(request, timeout=300) as answer:
        for line in answer:
            if line.strip():
                lines.append((time.perf_counter(), line))
    return lines


def _rate(arrivals: list[float], tokens: int) -> float:
    return (tokens - 1) / (arrivals[-1] - arrivals[0])


def olm_rate(server: Server, salt: int) -> float:
    """Tokens a second of one olm stream."""
    options = {"num_predict": TOKENS, "seed": 1, "temperature": 0.8, "num_ctx": 4096}
    options |= {"num_thread": THREADS, "stop": []}
    body = {"model": "demo", "prompt": f"[{salt}] {PROMPT}", "raw": True, "options": options}
    lines = _lines(server, "/api/generate", body)
    pieces = [at for at, line in lines if not json.loads(line)["done"]]
    final = json.loads(lines[-1][1])
    return _rate(pieces, final["eval_count"])


def llama_rate(server: Server, salt: int) -> float:
    """Tokens a second of one llama-server stream."""
    body = {"prompt": f"[{salt}] {PROMPT}", "n_predict": TOKENS, "seed": 1, "stream": True}
    body |= {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
    lines = _lines(server, "/completion", body)
    frames = [(at, json.loads(line[6:])) for at, line in lines if line.startswith(b"data: ")]
    pieces = [at for at, frame in frames if not frame.get("stop")]
    return _rate(pieces, frames[-1][1]["timings"]["predicted_n"])


def _together(rate: Callable[[Server, int], float], server: Server, streams: int) -> float:
    """Sum of the rates of several streams at once."""
    rates: list[float] = []
    threads = [
        threading.Thread(target=lambda salt=salt: rates.append(rate(server, salt)))
        for salt in range(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def rows() -> list[Row]:
    """One stream (the target) and four streams."""
    home = demo_home()
    arguments = ["-c", "4096", "-t", str(THREADS), "-np", "4", "--kv-unified", "--no-warmup"]
    report = []
    with olm_daemon(home) as olm, llama_daemon(weights(home), *arguments) as llama:
        olm_rate(olm, -1)
        llama_rate(llama, -1)
        for streams, target in [(1, 0.95), (4, 0.95)]:
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(_together(olm_rate, olm, streams))
                theirs.append(_together(llama_rate, llama, streams))
            report.append(
                Row(
                    name=f"decode, {streams} stream{'s' * (streams > 1)}",
                    ours=median(ours),
                    anchor=median(theirs),
                    unit="tok/s",
                    anchor_name="llama-server",
                    target=target,
                    at_most=False,
                )
            )
    return report


if __name__ == "__main__":
    for row in rows():
        print(row.text())
