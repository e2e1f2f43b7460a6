"""Coding agents as released, without an account: Claude Code and Codex in a folder of their own.

Both are told to be brief and which tool to use, by a system prompt in place of their own, and have
few tools: the tens of thousands of tokens that they send otherwise take a small machine minutes.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import clients

Event = dict[str, Any]


def example(tool: str, **arguments: str) -> str:
    """A system prompt from which a small model learns to call a tool."""
    call = json.dumps({"name": tool, "arguments": arguments})
    return f"You are brief. You may call {tool}. Example: <tool_call>\n{call}\n</tool_call>"


def claude(url: str, folder: Path, model: str, prompt: str) -> list[str]:
    """The command that lets Claude Code work on a prompt; it may read files, nothing else."""
    package = clients.node_packages("agents") / "node_modules" / "@anthropic-ai" / "claude-code"
    return [
        *("env", f"HOME={folder}", f"ANTHROPIC_BASE_URL={url}", "ANTHROPIC_API_KEY=none"),
        *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1"),
        *(str(clients.node()), str(package / "cli-wrapper.cjs"), "-p", prompt),
        *("--model", model, "--bare", "--tools", "Read", "--allowedTools", "Read"),
        *("--system-prompt", example("Read", file_path="/tmp/a")),
        *("--output-format", "stream-json", "--verbose"),
    ]


def codex(url: str, folder: Path, model: str, prompt: str) -> list[str]:
    """The command that lets Codex work on a prompt; what it runs can only read."""
    package = clients.node_packages("agents") / "node_modules" / "@openai" / "codex"
    home, instructions = folder / ".codex", folder / "instructions"
    home.mkdir(exist_ok=True)
    instructions.write_text(example("exec_command", cmd="cat /tmp/a"))
    (home / "config.toml").write_text(f"""
model = "{model}"
model_provider = "olm"
model_instructions_file = "{instructions}"
model_context_window = 16384
sandbox_mode = "read-only"
approval_policy = "never"
[model_providers.olm]
name = "olm"
base_url = "{url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[features]
goals = false
[agents]
enabled = false
""")
    return [
        *("env", f"HOME={folder}", f"CODEX_HOME={home}", str(clients.node())),
        *(str(package / "bin" / "codex.js"), "exec", "--json", "--skip-git-repo-check", prompt),
    ]


@contextmanager
def events(command: Sequence[str], folder: Path) -> Iterator[Iterator[Event]]:
    """The events of a session, as they come; leaving the block ends it."""
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    log = folder / "stderr"
    with (
        open(log, "wb") as stderr,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield (json.loads(line) for line in process.stdout if line.startswith("{"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # Codex is a child of its launcher


def until(found: Iterator[Event], is_last: Callable[[Event], bool]) -> list[Event]:
    """The events up to the first that is asked for; a failed test where none is."""
    seen = []
    for event in found:
        seen.append(event)
        if is_last(event):
            return seen
    raise AssertionError(f"the session ended before: {json.dumps(seen)[-3000:]}")
