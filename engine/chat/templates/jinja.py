"""Jinja chat templates of GGUF files, rendered as transformers renders them.

Runs in the template worker only: a template is a program of a stranger. The sandbox keeps it
from Python's internals; time, memory and processor are bounded by the worker, output here.

Source: transformers, src/transformers/utils/chat_template_utils.py (`render_jinja_template`),
https://huggingface.co/docs/transformers/chat_templating_writing
"""

import datetime
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from olmkit.engine.chat.templates.renderlimits import MAX_OUTPUT_CHARACTERS
from olmkit.engine.errors import TemplateFailed, TemplateRefused


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}`: marks the assistant's words for training."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's body, called in a scope of its own as a `{% call %}` block is."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return str(caller())


class PlainNamespace(Namespace):
    """`namespace(…)` without names that start with an underscore."""

    def __init__(*arguments: Any, **attributes: Any) -> None:
        self, values = arguments[0], dict(*arguments[1:], **attributes)
        for name in values:
            _refuse_underscore(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        Namespace.__setitem__(self, name, value)


class PlainDict:
    """`dict(…)` and `dict.fromkeys(…)`, not the type itself."""

    def __call__(self, *arguments: Any, **items: Any) -> dict[Any, Any]:
        """As `dict`."""
        return dict(*arguments, **items)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(keys, value)


def _refuse_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that starts with an underscore: {name!r}")


class _Refusal(TemplateError):
    """The template called `raise_exception`."""


def _raise_exception(message: str) -> NoReturn:
    raise _Refusal(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": PlainDict(),
        "namespace": PlainNamespace,
    }
    return environment


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text that a template makes of `messages`, `tools`, `bos_token` and the like.

    Raises:
        TemplateFailed: it does not parse, raises, or writes more than `MAX_OUTPUT_CHARACTERS`.
    """
    pieces: list[str] = []
    length = 0
    with _failures():
        for piece in _compiled(template).generate(**variables):
            length += len(piece)
            if length > MAX_OUTPUT_CHARACTERS:
                raise TemplateFailed(
                    f"the chat template writes more than {MAX_OUTPUT_CHARACTERS} characters"
                )
            pieces.append(piece)
    return "".join(pieces)


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever a template makes Python raise, as `TemplateFailed`."""
    try:
        yield
    except TemplateFailed:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFailed(
            f"the chat template does not parse: line {error.lineno}: {error.message}"
        ) from error
    except SecurityError as error:
        raise TemplateFailed(f"the chat template does what it may not: {error}") from error
    except MemoryError as error:
        raise TemplateFailed("the chat template takes too much memory") from error
    except RecursionError as error:
        raise TemplateFailed("the chat template is nested too deeply") from error
    except jinja2.UndefinedError as error:
        raise TemplateFailed(f"the chat template fails: {error.message}") from error
    except _Refusal as error:
        raise TemplateRefused(f"the chat template refuses: {error.message}") from error
    except TemplateError as error:
        raise TemplateFailed(f"the chat template refuses: {error.message}") from error
    except Exception as error:  # a template can make Python raise anything
        raise TemplateFailed(f"the chat template fails: {type(error).__name__}: {error}") from error
