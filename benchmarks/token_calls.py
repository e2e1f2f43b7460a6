"""Python functions that the daemon calls or resumes for one token of a streamed answer.

A count, not a time: the same on a busy machine, so that a change that costs every token shows.
"""

import os
import sys
from pathlib import Path

from anchors import BUILD, demo_home, free_port, running
from report import Row

TOKENS = (16, 272)
BOUND = 20
PATHS = ("/api/generate", "/api/chat", "/v1/chat/completions")
ENDS = (0, 2)
"""Tokens by which the demo model ends an answer, which are forbidden."""
PROGRAM = """
import pathlib, sys
from olmkit.cli.main import main
counted = 0
def count(frame, event, argument):
    global counted
    counted += event == "call"
path, sys.argv = pathlib.Path(sys.argv[1]), ["olm", "serve"]
sys.setprofile(count)
try:
    main()
finally:
    sys.setprofile(None)
    path.write_text(str(counted))
"""


def calls(home: Path, path: str, tokens: int) -> int:
    """Of a daemon that answers one request of so many tokens, from its start to its end."""
    port = free_port()
    environ = os.environ | {"OLM_HOME": str(home), "OLM_HOST": f"127.0.0.1:{port}"}
    url, found = f"http://127.0.0.1:{port}", BUILD / "calls"
    bias = {str(token): -100 for token in ENDS}
    options = {"num_predict": tokens, "temperature": 0, "logit_bias": bias}
    body = {"model": "demo", "stream": True, "options": options}
    if path == "/api/generate":
        body["prompt"] = "Write a long story."
    else:
        body["messages"] = [{"role": "user", "content": "Write a long story."}]
    if path.startswith("/v1"):
        body |= {"max_tokens": tokens, "logit_bias": bias}
    with running(
        [sys.executable, "-c", PROGRAM, str(found)], url, "/api/version", environ
    ) as server:
        events = server.post(path, body).count(b"\n\n" if path.startswith("/v1") else b"\n")
    assert events > tokens // 2, f"{events} events"
    return int(found.read_text())


def rows() -> list[Row]:
    """A bound for each API that streams token by token."""
    home = demo_home()
    few, many = TOKENS
    return [
        Row(
            name=f"Python calls for a token of {path}",
            ours=(calls(home, path, many) - calls(home, path, few)) / (many - few),
            anchor=BOUND,
            unit="calls",
            anchor_name="bound",
            target=1.0,
            at_most=True,
        )
        for path in PATHS
    ]


if __name__ == "__main__":
    for row in rows():
        print(row.text(), flush=True)
