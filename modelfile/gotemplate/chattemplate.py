"""Templates of models as such: what makes a Go template one, and where the model's answer goes on.

Pure; what conversations become through one is the business of whoever has conversations.
"""

from functools import cached_property

from olmkit.modelfile.gotemplate.evaluation.functions import FUNCTIONS
from olmkit.modelfile.gotemplate.limits import DEFAULT_LIMITS, Limits
from olmkit.modelfile.gotemplate.syntax import templateparser
from olmkit.modelfile.gotemplate.syntax.surgery import (
    append_field,
    call_without_data,
    cut_after_field,
)
from olmkit.modelfile.gotemplate.template import Template
from olmkit.modelfile.gotemplate.templateerrors import TemplateError, TemplateSyntaxError


def find_errors(text: str) -> list[TemplateError]:
    """All that keeps `text` from being the template of a model, in the order of the text.

    One error for an action at most; empty when `ChatTemplate.parse` takes it.
    """
    found: list[TemplateError] = []
    found += templateparser.find_errors(text, functions=FUNCTIONS, limits=DEFAULT_LIMITS)
    if not found:
        try:
            ChatTemplate.parse(text)
        except TemplateError as error:
            return [error]
    return found


class ChatTemplate:
    """A template of a model, ready for conversations."""

    def __init__(self, template: Template) -> None:
        self.template = template

    @classmethod
    def parse(cls, text: str, *, limits: Limits = DEFAULT_LIMITS) -> "ChatTemplate":
        """The template of a model; `{{ .Response }}` is appended where nothing says where it goes.

        Raises:
            TemplateSyntaxError: no template, or one that calls another without handing it data.
            TemplateLimitExceeded: too long or nested too deeply.
        """
        template = Template.parse(text, limits=limits)
        call = call_without_data(template.trees.values())
        if call is not None:
            raise TemplateSyntaxError(
                "undefined template specified",
                template_name="",
                line=1,
                position=call.position,
            )
        if not template.variables & {"messages", "response"}:
            template = template.with_root(append_field(template.root, "Response"))
        return cls(template)

    @property
    def takes_messages(self) -> bool:
        """Whether the template goes through the messages itself."""
        return "messages" in self.template.variables

    @cached_property
    def before_response(self) -> Template:
        """The template up to where the model's answer goes on."""
        return self.template.with_root(cut_after_field(self.template.root, "Response"))
