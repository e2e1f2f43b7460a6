"""Which of a model's templates renders its prompts, and why.

The rules are in docs/prompts.md. Ollama's built-in renderers do not exist here: a model that
names one is rendered by the template that its GGUF file brings.
"""

import enum
from dataclasses import dataclass

from olmkit.engine.models.capabilities import TemplateFacts, jinja_facts
from olmkit.engine.models.spec import ModelSpec


class TemplateKind(enum.StrEnum):
    """The languages of templates."""

    JINJA = "jinja"
    GO = "go"
    PLAIN = "plain"
    """None: the text of the turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The template that renders a model's prompts."""

    kind: TemplateKind
    template: str
    """Empty for `PLAIN`."""
    reason: str
    """Completes "because …"."""


def choose(
    spec: ModelSpec, go_facts: TemplateFacts | None, *, prefers_go: bool | None = None
) -> Choice:
    """The template for a model; `go_facts` are those of its Go template, None without one.

    `prefers_go` decides where both languages would do; None: the template that does more.
    """
    go, jinja = spec.go_template, spec.chat_template
    if go is None and jinja is None:
        return Choice(kind=TemplateKind.PLAIN, template="", reason="the model has no template")
    if go is None or go_facts is None:
        return Choice(
            kind=TemplateKind.JINJA, template=jinja or "", reason="the model has no Go template"
        )
    if jinja is None:
        return Choice(kind=TemplateKind.GO, template=go, reason="the file has no Jinja template")
    if spec.config.renderer:
        return Choice(
            kind=TemplateKind.JINJA,
            template=jinja,
            reason=f"the renderer {spec.config.renderer} is not built in",
        )
    if spec.config.parser:
        return Choice(
            kind=TemplateKind.GO, template=go, reason="the model names a parser of its output"
        )
    if is_harmony(spec):
        return Choice(kind=TemplateKind.GO, template=go, reason="the model speaks harmony")
    if prefers_go is not None:
        reason = "the daemon's setting OLM_GO_TEMPLATE says so"
        if prefers_go:
            return Choice(kind=TemplateKind.GO, template=go, reason=reason)
        return Choice(kind=TemplateKind.JINJA, template=jinja, reason=reason)
    if _is_better(jinja_facts(jinja), go_facts):
        return Choice(
            kind=TemplateKind.JINJA,
            template=jinja,
            reason="the file's Jinja template does more than the Go template",
        )
    return Choice(kind=TemplateKind.GO, template=go, reason="the model has a Go template")


def is_harmony(spec: ModelSpec) -> bool:
    """Whether the model writes OpenAI's harmony format (gpt-oss)."""
    template = spec.go_template or ""
    return (
        spec.gguf.architecture in ("gptoss", "gpt-oss")
        and "<|start|>" in template
        and "<|end|>" in template
    )


def _is_better(jinja: TemplateFacts, go: TemplateFacts) -> bool:
    """Whether Ollama's rule prefers the Jinja template."""
    if jinja.count > go.count:
        return jinja.tool_round_trip or not go.tool_round_trip
    is_same = (jinja.tools, jinja.insert, jinja.thinking) == (go.tools, go.insert, go.thinking)
    return is_same and jinja.tools and jinja.tool_round_trip and not go.tool_round_trip
