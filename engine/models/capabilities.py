"""What a model can do, by one detector for every place that says it.

What templates give away: docs/prompts.md. The names: https://github.com/ollama/ollama/blob/v0.17.4/types/model/capability.go
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from olmkit.engine.models.spec import ModelSpec

ORDER: Final = (
    "completion",
    "embedding",
    "rerank",
    "vision",
    "audio",
    "tools",
    "insert",
    "thinking",
    "image",
)
TOOL_PARSERS: Final = frozenset(
    (
        *("qwen3", "qwen3-thinking", "qwen3.5", "ornith", "qwen3-coder", "qwen3-vl-instruct"),
        *("qwen3-vl-thinking", "ministral", "harmony", "cogito", "deepseek3", "olmo3"),
        *("nemotron-3-nano", "nemotron-3.5-nano", "functiongemma", "glm-4.7", "gemma4"),
        *("gemma4-no-thinking", "lfm2", "lfm2-thinking", "laguna", "poolside-v1", "cohere"),
        "glimmer",
    )
)
THINKING_PARSERS: Final = frozenset(
    (
        *("qwen3-thinking", "qwen3.5", "ornith", "qwen3-vl-thinking", "harmony", "cogito"),
        *("deepseek3", "olmo3-think", "nemotron-3-nano", "nemotron-3.5-nano", "glm-4.7", "gemma4"),
        *("lfm2-thinking", "laguna", "poolside-v1", "cohere", "glimmer"),
    )
)
_KNOWN_TEMPLATES: Final = 16
_SPLITS_AT_THINK_END: Final = re.compile(r"""split\(\s*['"]</think>['"]\s*\)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """What a template takes account of."""

    tools: bool = False
    insert: bool = False
    thinking: bool = False
    tool_round_trip: bool = False
    """It renders the model's own calls and their results."""

    @property
    def count(self) -> int:
        """How many kinds of request it serves."""
        return self.tools + self.insert + self.thinking


@lru_cache(maxsize=_KNOWN_TEMPLATES)
def jinja_facts(template: str) -> TemplateFacts:
    """What a Jinja template's text gives away, without running it."""
    tools = "tools" in template or "tool_call" in template
    has_think_tags = "<think>" in template and "</think>" in template
    splits = bool(_SPLITS_AT_THINK_END.search(template)) and not (
        "reasoning_content" in template or "<SPECIAL_12>" in template
    )
    has_calls = "tool_calls" in template or "assistant_tool_call" in template
    has_results = any(
        mark in template
        for mark in (
            *("tool_response", "tool_results", "ipython"),
            *('role == "tool"', "role == 'tool'", "role'] == 'tool'", 'role"] == "tool"'),
            *('role\'] == "tool"', "role\"] == 'tool'"),
        )
    )
    return TemplateFacts(
        tools=tools,
        thinking=has_think_tags or splits,
        tool_round_trip=tools and has_calls and has_results,
    )


def capabilities(spec: ModelSpec, go_facts: TemplateFacts | None) -> tuple[str, ...]:
    """What the model can do, in Ollama's order.

    `go_facts` are those of its Go template, None when it has none.
    """
    found = set(spec.config.capabilities)
    found.add("rerank" if spec.ranks else "embedding" if spec.pools else "completion")
    if spec.projectors or spec.gguf.own_integer("vision.block_count"):
        found.add("vision")
    if _hears(spec):
        found.add("audio")
    jinja = spec.chat_template
    for facts in filter(None, (go_facts, jinja_facts(jinja) if jinja else None)):
        found.update(name for name in ("tools", "insert", "thinking") if getattr(facts, name))
    parser = spec.config.parser or ""
    if parser in TOOL_PARSERS or (jinja and spec.gguf.tool_template):
        found.add("tools")
    if parser in THINKING_PARSERS or spec.gguf.architecture in ("gptoss", "gpt-oss"):
        found.add("thinking")
    return in_order(found)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The capabilities in Ollama's order, unknown ones last."""
    wanted = set(names)
    return tuple(n for n in ORDER if n in wanted) + tuple(sorted(wanted - set(ORDER)))


def _hears(spec: ModelSpec) -> bool:
    if spec.gguf.own_integer("audio.block_count"):
        return True
    return any(
        key.endswith("has_audio_encoder") and value is True
        for projector in spec.projectors
        for key, value in projector.metadata.items()
    )
