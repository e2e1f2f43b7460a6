"""What every client asks for, and how it tells what came back.

A client is a program of its own, as users' programs are: `python CLIENT.py URL` prints one JSON
object, by the name of each step. It runs in an environment that has the client and not olm.
"""

import json
import sys
from typing import Any, Literal

from pydantic import BaseModel

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:11434"
CHAT_MODEL = "speaker"
TRAINED_MODEL = "qwen"
"""Where the words of a prompt are to bind the answer."""
EMBEDDING_MODEL = "minilm"
QUESTION = "Name a colour."
WEATHER = "What is the weather in Paris? Use the tool."
STORY = "Write a very long story about the sea."
TEXTS = ["one text", "another text"]
ABSENT = "nonesuch"
TOKENS = 8
"""Bound of a short answer."""
ENDLESS_TOKENS = 100_000
"""Bound of an answer that only its client ends."""


class Choice(BaseModel):
    """A colour that was chosen."""

    colour: Literal["red", "blue"]


def get_weather(city: str) -> str:
    """Get the current weather of a city."""
    return f"snow in {city}"


def report(found: dict[str, Any]) -> None:
    """Print the result of all steps."""
    json.dump(found, sys.stdout)
