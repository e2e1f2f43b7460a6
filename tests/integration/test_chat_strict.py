"""Strict chat templates: what they refuse is said in the form that they take, or refused as 400."""

from collections.abc import Iterator

import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
"""As google/gemma-2-2b-it has it."""
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
    "{% endif %}{% endfor %}"
)
"""As mistralai/Mistral-7B-Instruct-v0.1 had it."""
SILENT = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
"""Leaves system messages out without a word."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("strict") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        for name, template in (("gemma", GEMMA), ("mistral", MISTRAL), ("silent", SILENT)):
            client.create(name, parent="smol", template=template)
        yield client


def prompt(api: Api, model: str, *turns: tuple[str, str]) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {"model": model, "messages": messages, "_debug_render_only": True}
    answer = api.post("/api/chat", body)
    assert answer.status == 200, answer.body
    return str(answer.json["_debug_info"]["rendered_template"])


def test_system_text_goes_in_front_of_the_first_turn_of_the_user(api: Api) -> None:
    turns = (("system", "Be brief."), ("user", "Hi"))
    assert "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>" in prompt(api, "gemma", *turns)
    assert prompt(api, "mistral", *turns).endswith("[INST] Be brief.\n\nHi [/INST]")
    assert prompt(api, "silent", *turns) == "<user>Be brief.\n\nHi"
    assert "<|im_start|>system\nBe brief.<|im_end|>" in prompt(api, "smol", *turns)


def test_system_messages_anywhere_go_to_the_turn_that_follows(api: Api) -> None:
    turns = (
        ("system", "A"),
        ("system", "B"),
        ("user", "1"),
        ("assistant", "2"),
        ("system", "C"),
        ("user", "3"),
    )
    assert prompt(api, "mistral", *turns).endswith(
        "[INST] A\n\nB\n\n1 [/INST]2<|im_end|> [INST] C\n\n3 [/INST]"
    )
    assert prompt(api, "mistral", ("system", "alone")).endswith("[INST] alone [/INST]")


def test_neighbours_of_one_role_are_joined(api: Api) -> None:
    turns = (("user", "1"), ("user", "2"), ("assistant", "3"), ("assistant", "4"), ("user", "5"))
    assert "user\n1\n\n2<end_of_turn>\n<start_of_turn>model\n3\n\n4<end_of_turn>" in prompt(
        api, "gemma", *turns
    )
    # A template that takes them as they are gets them so.
    assert "user\n1<|im_end|>\n<|im_start|>user\n2<|im_end|>" in prompt(api, "smol", *turns)


def test_a_begun_answer_stays_begun(api: Api) -> None:
    turns = (("system", "S"), ("user", "1"), ("assistant", "The ans"), ("assistant", "wer is"))
    assert prompt(api, "gemma", *turns).endswith("<start_of_turn>model\nThe ans\n\nwer is")


def test_what_no_form_helps_is_refused_in_the_templates_words(api: Api) -> None:
    for model, words, roles in (
        ("gemma", "Conversation roles must alternate", ("assistant", "user")),
        ("mistral", "Only user and assistant roles are supported!", ("user", "tool")),
    ):
        messages = [{"role": role, "content": role} for role in roles]
        body = {"model": model, "messages": messages, "_debug_render_only": True}
        refused = api.post("/api/chat", body)
        assert refused.status == 400
        assert refused.json["code"] == "template_refused"
        assert words in refused.error


def test_generate_puts_system_text_where_the_template_takes_it(api: Api) -> None:
    body = {"model": "gemma", "prompt": "Hi", "system": "Be brief.", "_debug_render_only": True}
    text = api.post("/api/generate", body).json["_debug_info"]["rendered_template"]
    assert "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>" in text


def test_create_and_show_say_what_becomes_of_a_system_message(api: Api) -> None:
    lines = api.create("brief", parent="gemma", system="Be brief.")
    (note,) = [one["status"] for one in lines if "takes no system message" in one["status"]]
    assert note.startswith("note: ")
    notes = api.post("/api/show", {"model": "brief"}).json["olm"]["template"]["notes"]
    assert len(notes) == 2 and note == f"note: {notes[0]}"
    assert "notes" not in api.post("/api/show", {"model": "smol"}).json["olm"]["template"]
    assert "takes no" not in str(api.create("plain", parent="smol", system="Be brief."))


def test_stored_messages_come_behind_the_systems_of_a_request(api: Api) -> None:
    stored = [{"role": "user", "content": "U0"}, {"role": "assistant", "content": "A0"}]
    api.create("begun", parent="smol", messages=stored, system="model's")
    text = prompt(api, "begun", ("system", "request's"), ("user", "U1"))
    places = [text.index(word) for word in ("request's", "U0", "A0", "U1")]
    assert places == sorted(places)
    assert "model's" not in text
    text = prompt(api, "begun", ("user", "U1"))
    assert text.index("model's") < text.index("U0") < text.index("U1")


# --- a TEMPLATE in Jinja ----------------------------------------------------------------------


def test_a_template_in_jinja_is_taken_as_jinja(api: Api) -> None:
    shown = api.post("/api/show", {"model": "silent"}).json
    assert shown["template"] == SILENT
    assert shown["olm"]["template"]["kind"] == "jinja"
    assert "TEMPLATE" in shown["modelfile"]
    body = {"model": "smol", "prompt": "Hi", "template": SILENT, "_debug_render_only": True}
    answer = api.post("/api/generate", body).json
    assert answer["_debug_info"]["rendered_template"] == "<user>Hi"


def test_a_broken_template_in_jinja_is_refused_when_the_model_is_made(api: Api) -> None:
    body = {"model": "bad", "from": "smol", "template": "{% for m in messages %}{{ m.content }}"}
    answer = api.post("/api/create", {**body, "stream": False})
    assert answer.status == 400
    assert answer.error.startswith("template error: the chat template does not parse")
