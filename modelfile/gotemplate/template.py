"""`Template`: a parsed Go template, ready to be looked into, changed and carried out."""

import datetime
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from olmkit.modelfile.gotemplate.evaluation.blocks import compile_program, run_body
from olmkit.modelfile.gotemplate.evaluation.functions import FUNCTIONS, Function
from olmkit.modelfile.gotemplate.evaluation.scope import Body
from olmkit.modelfile.gotemplate.limits import DEFAULT_LIMITS, Execution, Limits
from olmkit.modelfile.gotemplate.printing.goquoting import clean
from olmkit.modelfile.gotemplate.syntax.nodes import ListNode
from olmkit.modelfile.gotemplate.syntax.surgery import mentioned_names
from olmkit.modelfile.gotemplate.syntax.templateparser import parse_trees
from olmkit.modelfile.gotemplate.templateerrors import TemplateLimitExceeded


class Template:
    """A template and those defined inside it.

    Immutable; any number of threads may execute one at a time or together.
    """

    def __init__(
        self,
        *,
        text: str,
        name: str,
        trees: Mapping[str, ListNode],
        functions: Mapping[str, Function],
        limits: Limits,
    ) -> None:
        self.text = text
        """The source that places in errors refer to."""
        self.name = name
        self.trees = MappingProxyType(dict(trees))
        """The parse trees by name, the template's own under its own name."""
        self.limits = limits
        self._functions = functions

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        name: str = "",
        functions: Mapping[str, Function] = FUNCTIONS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> "Template":
        """The template of a text.

        Raises:
            TemplateSyntaxError: no template, or a function that is not among `functions`.
            TemplateLimitExceeded: too long or nested too deeply.
        Source: https://pkg.go.dev/text/template, with the option missingkey=zero.
        """
        try:
            trees = parse_trees(text, name=name, functions=functions, limits=limits)
        except RecursionError:
            raise TemplateLimitExceeded("nesting", limits.nesting, template_name=name) from None
        return cls(text=text, name=name, trees=trees, functions=functions, limits=limits)

    @property
    def root(self) -> ListNode:
        """The parse tree of the template itself."""
        return self.trees[self.name]

    def with_root(self, root: ListNode) -> "Template":
        """The same template with another tree in place of its own."""
        return Template(
            text=self.text,
            name=self.name,
            trees={**self.trees, self.name: root},
            functions=self._functions,
            limits=self.limits,
        )

    def execute(self, data: object, *, today: datetime.date | None = None) -> str:
        """The template's output for this data.

        `data` is plain JSON-like data or typed values (see `values`). `today` is what `currentDate`
        tells; without it that function fails. Takes as long as `limits.steps` allows at most, about
        a second by default: a server should not run it in its event loop.

        Raises:
            TemplateExecutionError: the template does not fit the data.
            TemplateLimitExceeded: it does too much.
        """
        execution = Execution(self.limits, today=today)
        self.run(execution, data)
        return clean("".join(execution.output))

    def run(self, execution: Execution, data: object) -> None:
        """As `execute`, into an execution that several runs may share with its allowances."""
        try:
            run_body(self._program[self.name], execution, data)
        except RecursionError:
            raise TemplateLimitExceeded("nesting", self.limits.nesting) from None

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template mentions, in lower case: `messages`, `tools`, `$i`, …"""
        return mentioned_names(self.trees.values())

    @cached_property
    def _program(self) -> dict[str, Body]:
        return compile_program(
            self.trees, text=self.text, name=self.name, functions=self._functions
        )
