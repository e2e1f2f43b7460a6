"""Claude Code and Codex, as released, in sessions against the daemon."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import agents, models
from support.api import Api
from support.daemon import running_daemon


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agents work."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "note.txt").write_text("snow in Paris\n")
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[str]:
    made = tmp_path_factory.mktemp("agents")
    calls = {
        "talker": None,
        "reader": ("Read", {"file_path": f"{folder}/note.txt"}),
        "typist": ("exec_command", {"cmd": "cat note.txt"}),
    }
    with running_daemon(made / "home") as daemon:
        for name, call in calls.items():
            path = models.tiny_speaker(made / f"{name}.gguf", call)
            cold = {"num_ctx": 16384, "num_predict": 60, "temperature": 0}
            Api(daemon).create(name, path, parameters=cold)
        yield daemon.url


def blocks(event: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The blocks of one kind in a message that Claude Code tells of."""
    content = event.get("message", {}).get("content", ())
    return [block for block in content if isinstance(block, dict) and block["type"] == kind]


def test_claude_code_answers(url: str, folder: Path) -> None:
    command = agents.claude(url, folder, "talker", "Say hi")
    with agents.events(command, folder) as found:
        *_, last = agents.until(found, lambda event: event["type"] == "result")
    assert (last["subtype"], last["is_error"]) == ("success", False), last
    assert last["result"] and last["stop_reason"] == "end_turn"
    assert last["usage"]["output_tokens"] > 0


def test_claude_code_gives_the_result_of_a_tool_back(url: str, folder: Path) -> None:
    command = agents.claude(url, folder, "reader", f"Read the file {folder}/note.txt")
    with agents.events(command, folder) as found:
        seen = agents.until(found, lambda event: bool(blocks(event, "tool_result")))
        (call, *_) = [call for event in seen for call in blocks(event, "tool_use")]
        assert call["name"] == "Read" and call["input"]["file_path"]
        # The daemon takes the conversation with the result and answers again.
        (*_, answer) = agents.until(found, lambda event: event["type"] in ("assistant", "result"))
    assert not answer.get("is_error"), answer
    assert not answer.get("error"), answer


def test_codex_answers(url: str, folder: Path) -> None:
    command = agents.codex(url, folder, "talker", "Say hi")
    with agents.events(command, folder) as found:
        seen = agents.until(found, lambda e: e["type"] in ("turn.completed", "turn.failed"))
    assert seen[-1]["type"] == "turn.completed", seen
    assert seen[-1]["usage"]["output_tokens"] > 0


def test_codex_gives_the_result_of_a_command_back(url: str, folder: Path) -> None:
    def is_about_a_command(event: dict[str, Any]) -> bool:
        return bool(event.get("item", {}).get("type") == "command_execution")

    command = agents.codex(url, folder, "typist", "Run the command: cat note.txt")
    with agents.events(command, folder) as found:
        agents.until(found, lambda e: e["type"] == "item.completed" and is_about_a_command(e))
        (*_, after) = agents.until(found, lambda event: True)
    assert after["type"] in ("item.started", "item.completed", "turn.completed"), after
