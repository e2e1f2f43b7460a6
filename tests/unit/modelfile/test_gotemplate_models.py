import datetime

import pytest

from olmkit.engine.chat.templates.gochat import render_chat, render_insert
from olmkit.modelfile.gotemplate.chattemplate import ChatTemplate
from support import gotemplates, gotemplates_tools
from support.gotemplates import Rendering
from support.gotemplates_tools import INSERTIONS

RENDERINGS = gotemplates.RENDERINGS + gotemplates_tools.RENDERINGS


@pytest.mark.parametrize("case", RENDERINGS, ids=lambda case: case.name)
def test_template_of_a_model_family_renders_its_published_format(case: Rendering) -> None:
    prompt = render_chat(
        ChatTemplate.parse(case.template),
        case.messages,
        tools=case.tools,
        think=case.think,
        today=datetime.date(2026, 11, 21),
    )
    assert prompt == case.expected


@pytest.mark.parametrize(("template", "expected"), INSERTIONS)
def test_prompt_and_suffix_are_put_around_the_gap(template: str, expected: str) -> None:
    assert render_insert(ChatTemplate.parse(template), "def add(", "return x") == expected
