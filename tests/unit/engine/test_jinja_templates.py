"""Rendering of Jinja chat templates, against what transformers 5.23.0 makes of the same."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.chat.templates import jinja
from olmkit.engine.chat.templates.renderlimits import MAX_OUTPUT_CHARACTERS
from olmkit.engine.errors import TemplateFailed
from olmkit.engine.gguf.header import read_header
from support import models

RECORDED = json.loads(
    (Path(__file__).parents[2] / "support" / "jinja_cases.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_renders_what_transformers_renders(case: dict[str, Any]) -> None:
    template = case.get("template")
    if template is None:
        template = read_header(getattr(models, case["model"])()).chat_template or ""
    variables = {
        "messages": RECORDED[case["messages"]],
        "tools": RECORDED["tools"] if case["tools"] else None,
        "documents": None,
        "add_generation_prompt": case["add_generation_prompt"],
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    assert jinja.render(template, variables) == case["expected"]


def refusal(template: str, **variables: Any) -> str:
    with pytest.raises(TemplateFailed) as caught:
        jinja.render(template, variables)
    return str(caught.value)


def test_a_template_may_refuse_in_its_own_words() -> None:
    text = refusal("{{ raise_exception('Only user and assistant roles are supported!') }}")
    assert text == "the chat template refuses: Only user and assistant roles are supported!"


def test_a_syntax_error_names_the_line() -> None:
    assert "line 2: " in refusal("x\n{% if %}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.__class__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{% set x = messages.append(1) %}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ dict.__class__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
    ],
)
def test_what_leads_out_of_the_sandbox_is_refused_or_empty(template: str) -> None:
    try:
        assert jinja.render(template, {"messages": [1]}) == ""
    except TemplateFailed:
        pass


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.a.b }}", "fails: 'list object' has no attribute"),
        ("{{ 2 ** 100000 }}", "ValueError"),
        ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", f"{MAX_OUTPUT_CHARACTERS}"),
    ],
)
def test_runaway_templates_are_failures(template: str, problem: str) -> None:
    assert problem in refusal(template, messages=[])


def test_strftime_now_is_local_time() -> None:
    assert jinja.render("{{ strftime_now('%Y') }}", {}) == str(datetime.datetime.now().year)


def test_tojson_keeps_text_and_order_as_they_are() -> None:
    text = jinja.render("{{ x|tojson }}", {"x": {"b": "<é>", "a": 1}})
    assert text == '{"b": "<é>", "a": 1}'
