"""/v1/responses with stored responses, by the real openai-python."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from olmkit.engine.api.openai.responsestore import ResponseStore, StoredResponse
from olmkit.engine.errors import ResponseNotStored
from support import models
from support.api import Api
from support.daemon import running_daemon
from support.replyforms import check_form

KEPT = 3
ASKED: dict[str, Any] = {"model": "smol", "temperature": 0, "max_output_tokens": 4}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("responses") / "home"
    with running_daemon(home, environ={"OLM_STORED_RESPONSES": str(KEPT)}) as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        yield api


@pytest.fixture(scope="module")
def client(api: Api) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{api.daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_response_goes_on_from_a_stored_one(client: Any) -> None:
    first = client.responses.create(**ASKED, input="Say one.", instructions="Be brief.")
    second = client.responses.create(**ASKED, input="Say two.", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    # The same as the whole conversation at once; instructions are not handed down.
    items = [
        {"role": "user", "content": "Say one."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Say two."},
    ]
    whole = client.responses.create(**ASKED, input=items, store=False)
    assert whole.output_text == second.output_text
    assert whole.usage.input_tokens == second.usage.input_tokens


def test_a_stored_response_is_read_and_deleted(api: Api, client: Any) -> None:
    first = client.responses.create(**ASKED, input="Say one.")
    assert client.responses.retrieve(first.id).to_dict() == first.to_dict()
    path = f"/v1/responses/{first.id}"
    check_form("get", "/v1/responses/{id}", api.get(path).json)
    items = api.get(f"{path}/input_items").json
    check_form("get", "/v1/responses/{id}/input_items", items)
    check_form("delete", "/v1/responses/{id}", api.ask("DELETE", path).json)
    with pytest.raises(openai.NotFoundError, match="is not stored"):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError, match="is not stored"):
        client.responses.create(**ASKED, input="x", previous_response_id=first.id)


def test_a_stream_is_stored_at_its_end(client: Any) -> None:
    *_, last = client.responses.create(**ASKED, input="Say one.", stream=True)
    stored = client.responses.retrieve(last.response.id)
    assert (stored.status, stored.store) == ("incomplete", True)
    assert stored.output_text == last.response.output_text


def test_items_of_the_input_come_in_pages(client: Any) -> None:
    first = client.responses.create(**ASKED, input="Say one.")
    second = client.responses.create(**ASKED, input="Say two.", previous_response_id=first.id)
    texts = [i.content[0].text for i in client.responses.input_items.list(second.id, order="asc")]
    assert texts == ["Say one.", first.output_text, "Say two."]
    page = client.responses.input_items.list(second.id, limit=2)
    assert (len(page.data), page.has_more, page.data[0].content[0].text) == (2, True, "Say two.")
    (rest,) = client.responses.input_items.list(second.id, limit=2, after=page.last_id).data
    assert rest.content[0].text == "Say one."


def test_a_response_that_shall_not_be_stored_is_not(client: Any) -> None:
    one = client.responses.create(**ASKED, input="Say one.", store=False)
    assert one.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(one.id)


def test_what_no_page_can_be_is_refused(api: Api, client: Any) -> None:
    one = client.responses.create(**ASKED, input="Say one.")
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=nothing"):
        assert api.get(f"/v1/responses/{one.id}/input_items?{query}").status == 400
    assert api.get(f"/v1/responses/{one.id}?stream=true").status == 400
    assert api.ask("PUT", f"/v1/responses/{one.id}").status == 405


def test_the_oldest_responses_go_first() -> None:
    def response(number: int, text: str = "") -> StoredResponse:
        return StoredResponse(response={"id": f"r{number}", "output": [], "text": text}, input=())

    store = ResponseStore(limit=KEPT, limit_bytes=960)
    for number in range(5):
        store.put(response(number))
    for number in (0, 1):
        with pytest.raises(ResponseNotStored):
            store.get(f"r{number}")
    assert store.get("r2").id == "r2"
    store.put(response(5, "x" * 900))
    assert store.get("r5").id == "r5"
    with pytest.raises(ResponseNotStored):
        store.get("r4")
    store.put(response(6, "x" * 2000))  # larger than all that may be kept
    with pytest.raises(ResponseNotStored):
        store.get("r6")
