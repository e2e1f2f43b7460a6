"""Answers held to JSON and to JSON schemas, by real runners."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from olmkit.engine.runner import protocol as p
from support.jsonschema import problems
from support.models import gemma3, qwen_coder, smollm2, tiny_chat
from support.runner import Completion, RunnerClient, RunnerFailure, loaded_runner

JSON = p.Constraint(kind=p.ConstraintKind.JSON)
STORY = "Once upon a time, there was"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "height": {"type": "number", "minimum": 0.5, "maximum": 2.5},
        "is_alive": {"type": "boolean"},
        "colour": {"enum": ["red", "grün", "🔵", None, 7]},
    },
    "required": ["name", "age", "height", "is_alive", "colour"],
    "additionalProperties": False,
}
LIST = {
    "type": "array",
    "items": {"type": "array", "items": {"type": ["integer", "null"], "minimum": -9, "maximum": 9},
              "minItems": 1, "maxItems": 2},
    "minItems": 2,
    "maxItems": 3,
}  # fmt: skip
TREE = {
    "$defs": {
        "leaf": {"type": "object", "properties": {"leaf": {"const": True}},
                 "required": ["leaf"], "additionalProperties": False},
        "node": {"type": "object",
                 "properties": {"left": {"$ref": "#/$defs/leaf"},
                                "right": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]}},
                 "required": ["left", "right"], "additionalProperties": False},
    },
    "$ref": "#/$defs/node",
}  # fmt: skip
CODE = {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"}
EMOJI = {
    "type": "object",
    "properties": {"😀": {"const": '👩‍🚀 "naïve" 日本\\ \n'}, "x": {"enum": ["é", "ü"]}},
    "required": ["😀", "x"],
    "additionalProperties": False,
}
SCHEMAS: list[Any] = [PERSON, LIST, TREE, CODE, EMOJI]


def schema(value: Any) -> p.Constraint:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return p.Constraint(kind=p.ConstraintKind.SCHEMA, text=text)


def chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def assert_kept(one: Completion, wanted: Any) -> None:
    assert one.end.reason is p.EndReason.STOP, one.text
    assert problems(json.loads(one.text), wanted) == [], one.text


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerClient]:
    with loaded_runner(tiny_chat(), context_tokens=2048) as client:
        yield client


@pytest.fixture(scope="module")
def narrow() -> Iterator[RunnerClient]:
    """With a context that answers fill."""
    with loaded_runner(tiny_chat(), context_tokens=128) as client:
        yield client


@pytest.fixture(scope="module")
def talker() -> Iterator[RunnerClient]:
    """With real weights, which write JSON of themselves."""
    with loaded_runner(smollm2(), context_tokens=2048) as client:
        yield client


@pytest.mark.parametrize("wanted", SCHEMAS)
def test_an_answer_is_what_its_schema_says_at_any_temperature(
    runner: RunnerClient, wanted: Any
) -> None:
    ids = [
        runner.start(
            chat("Describe a person."),
            sampling=p.Sampling(seed=seed, temperature=temperature, repeat_penalty=penalty),
            constraint=schema(wanted),
            max_tokens=200,
        )
        for seed, temperature, penalty in ((1, 0.0, 1.0), (2, 0.8, 1.3), (3, 5.0, 1.0))
    ]
    found = runner.replies(*ids)
    for one in ids:
        assert_kept(Completion(found[one]), wanted)


def test_json_mode_gives_an_object(talker: RunnerClient) -> None:
    one = talker.complete(
        chat("Reply in JSON: the capital of France."),
        constraint=JSON,
        max_tokens=300,
        sampling=p.Sampling(seed=1),
    )
    assert_kept(one, {"type": "object"})
    assert "\n" not in one.text


@pytest.mark.parametrize(("path", "wanted"), [(qwen_coder, EMOJI), (gemma3, EMOJI)])
def test_other_vocabularies_keep_a_schema_too(path: Any, wanted: Any) -> None:
    with loaded_runner(path()) as client:
        one = client.complete(
            chat("Describe."),
            sampling=p.Sampling(seed=1),
            constraint=schema(wanted),
            max_tokens=60,
        )
    assert_kept(one, wanted)


def test_constrained_and_free_answers_go_side_by_side(runner: RunnerClient) -> None:
    """The free ones are those that come alone; the constrained ones keep their own schema each."""
    free = ["1 2 3 4 5 6 7 8 9 10 11 12", "x, y, x, y, x, y, x, y, x, y,"]
    alone = [runner.complete(prompt, max_tokens=20).text for prompt in free]
    ids = []
    for index, wanted in enumerate(SCHEMAS):
        ids.append(runner.start(chat("Go."), constraint=schema(wanted), max_tokens=200))
        ids.append(runner.start(free[index % 2], max_tokens=20))
    found = runner.replies(*ids)
    for index, wanted in enumerate(SCHEMAS):
        assert_kept(Completion(found[ids[2 * index]]), wanted)
        assert Completion(found[ids[2 * index + 1]]).text == alone[index % 2]


def test_the_same_seed_gives_the_same_answer(runner: RunnerClient) -> None:
    def answer(seed: int) -> str:
        sampling = p.Sampling(seed=seed, temperature=1.5, repeat_penalty=1.1)
        one = runner.complete(
            chat("A person?"), sampling=sampling, constraint=schema(PERSON), max_tokens=25
        )
        return one.text

    first = answer(5)
    assert answer(5) == first
    assert answer(6) != first


def test_a_grammar_that_refuses_nothing_changes_nothing(talker: RunnerClient) -> None:
    """Penalties and random numbers are the same with a guide as without, where all fits."""
    lines = "".join(f'{{"number": {n}, "square": {n * n}}}\n' for n in range(1, 9))
    sampling = p.Sampling(seed=3, temperature=0.7, repeat_penalty=1.02, frequency_penalty=0.01)
    free = talker.complete(lines, sampling=sampling, max_tokens=30, reproducible=True)
    text, newline, _ = free.text.partition("\n")
    assert newline, free.text
    assert isinstance(json.loads(text), dict)
    held = talker.complete(
        lines, sampling=sampling, max_tokens=30, constraint=JSON, reproducible=True
    )
    assert held.text == text
    assert held.tokens == free.tokens[: len(held.tokens)]


def test_penalties_see_what_was_taken_and_not_what_was_refused(runner: RunnerClient) -> None:
    """One of two words is chosen again and again: a penalty on the taken one makes them turn."""
    wanted = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 6, "maxItems": 6}
    sampling = p.Sampling(temperature=0, presence_penalty=0, frequency_penalty=2.0)
    held = runner.complete(
        chat("Say a."), sampling=sampling, constraint=schema(wanted), max_tokens=60
    )
    assert_kept(held, wanted)
    assert set(json.loads(held.text)) == {"a", "b"}


def test_max_tokens_cuts_and_says_so(runner: RunnerClient) -> None:
    one = runner.complete(chat("A person?"), constraint=schema(PERSON), max_tokens=5)
    assert one.end.reason is p.EndReason.LENGTH
    assert one.end.completion_tokens == 5
    assert one.text.startswith("{")


def test_a_full_context_cuts_and_says_so(narrow: RunnerClient) -> None:
    endless = {"type": "array", "items": {"const": 1}, "minItems": 100}
    one = narrow.complete(chat("Ones."), constraint=schema(endless))
    assert one.end.reason is p.EndReason.LENGTH
    assert one.text.startswith("[1")


def test_stop_strings_end_the_answer_before_it_is_whole(runner: RunnerClient) -> None:
    one = runner.complete(
        chat("A person?"), constraint=schema(PERSON), max_tokens=200, stop=['"height"']
    )
    assert (one.end.reason, one.end.stop_string) == (p.EndReason.STOP, '"height"')
    assert '"age"' in one.text
    assert '"height"' not in one.text


def test_the_answer_ends_with_its_last_token(runner: RunnerClient) -> None:
    """No end-of-generation token need be sampled where nothing else could follow."""
    one = runner.complete(chat("Yes?"), constraint=schema({"const": "yes"}), max_tokens=50)
    assert one.text == '"yes"'
    assert one.end.completion_tokens == len(one.tokens)
    assert one.end.reason is p.EndReason.STOP


def test_log_probabilities_are_the_models_own(runner: RunnerClient) -> None:
    one = runner.complete(
        chat("A person?"), constraint=schema(PERSON), max_tokens=8, top_logprobs=2
    )
    free = runner.complete(chat("A person?"), max_tokens=1, top_logprobs=2)
    assert len(one.logprobs) == len(one.tokens) == 8
    assert all(entry.logprob <= 0 for entry in one.logprobs)
    likeliest = [entry.token for entry in one.logprobs[0].top]
    assert likeliest == [entry.token for entry in free.logprobs[0].top]


def test_a_prefix_is_reused_with_and_without_a_schema(runner: RunnerClient) -> None:
    prompt = chat("A long question about nothing in particular, asked twice in the same words.")
    runner.complete(prompt, max_tokens=1)
    one = runner.complete(prompt, constraint=schema(CODE), max_tokens=50)
    assert one.end.cached_tokens == one.end.prompt_tokens - 1
    assert_kept(one, CODE)


def test_an_answer_that_has_to_wait_for_room_goes_on_where_it_was(narrow: RunnerClient) -> None:
    """Two answers that together need more than the pool has: the youngest is sent back."""
    wanted = {"type": "array", "items": {"const": 10}, "minItems": 20, "maxItems": 20}
    ids = [narrow.start(chat("Tens."), constraint=schema(wanted)) for _ in range(2)]
    found = narrow.replies(*ids)
    for one in ids:
        assert json.loads(Completion(found[one]).text) == [10] * 20


BAD = [
    ({"not": {"type": "string"}}, 'Unimplemented keys: ["not"]'),
    ({"type": "array", "uniqueItems": True}, 'Unimplemented keys: ["uniqueItems"]'),
    ({"$ref": "https://example.com/schema.json"}, "does not fetch"),
    ({"$ref": "#/$defs/none"}, "does not exist"),
    ({"$ref": "#"}, "no text fits it"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"type": "string", "pattern": "("}, "unclosed group"),
    ({"type": "strin"}, "strin"),
    ({"properties": {"a": 5}}, "object or boolean"),
    ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum (5) is greater than maximum (2)"),
    ({"type": "integer", "multipleOf": 1_000_003}, "multipleOf"),
    ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "multipleOf"),
    ({"description": "x" * 140_000}, "at most 131072"),
    ("{", "cannot be read"),
    ("[]", "is no object"),
    ('{"items":' * 2000 + "{}" + "}" * 2000, ""),
    ('{"multipleOf":' + "1" * 5000 + "}", "cannot be read"),
    ('{"multipleOf":1e999}', "cannot be read"),
]


@pytest.mark.parametrize(("wanted", "reason"), BAD)
def test_a_schema_that_cannot_be_kept_is_a_bad_request(
    runner: RunnerClient, wanted: Any, reason: str
) -> None:
    with pytest.raises(RunnerFailure) as caught:
        runner.complete("x", constraint=schema(wanted), max_tokens=1)
    failed = caught.value.failed
    assert failed.kind is p.FailureKind.BAD_REQUEST
    assert failed.message.startswith("invalid JSON schema in format: ")
    assert reason in failed.message
    assert "\n" not in failed.message


def test_schemas_made_to_hurt_cost_little(runner: RunnerClient) -> None:
    """Chains of references went over the stack; large automata over memory and time."""
    process = psutil.Process(runner.process.pid)
    runner.complete("x", constraint=JSON, max_tokens=1)
    before_bytes = process.memory_info().rss
    links = 2000

    def chain(link: Any) -> str:
        names = {f"d{i}": link(f"#/$defs/d{i + 1}") for i in range(links)}
        return json.dumps({"$defs": {**names, f"d{links}": True}, "$ref": "#/$defs/d0"})

    hostile = [
        chain(lambda to: {"$ref": to}),
        chain(lambda to: {"items": {"$ref": to}}),
        chain(lambda to: {"anyOf": [{"$ref": to}]}),
        {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(500)}},
        {"enum": [f"value{i}" for i in range(8000)]},
        {"allOf": [{"anyOf": [{"properties": {f"{i}{j}": {"type": "integer"}}} for i in range(4)]}
                   for j in range(10)]},
    ]  # fmt: skip
    for wanted in hostile:
        try:
            runner.complete("x", constraint=schema(wanted), max_tokens=4)
        except RunnerFailure as error:
            assert error.failed.kind is p.FailureKind.BAD_REQUEST
    assert process.memory_info().rss - before_bytes < 100 * 2**20
    assert_kept(runner.complete("x", constraint=schema(CODE), max_tokens=50), CODE)


def test_a_cancelled_request_leaves_the_others_alone(runner: RunnerClient) -> None:
    with loaded_runner(tiny_chat()) as fresh:  # the tokenizer is still to be made
        gone = fresh.start("x", constraint=JSON)
        stays = fresh.start(chat("A code?"), constraint=schema(CODE), max_tokens=50)
        fresh.cancel(gone)
        found = fresh.replies(gone, stays)
        assert fresh.health().queued_requests == 0
    end = found[gone][-1]
    assert isinstance(end, p.Completed)
    assert end.reason is p.EndReason.CANCELLED
    assert_kept(Completion(found[stays]), CODE)


def test_nothing_is_imported_before_a_request_asks_for_it() -> None:
    def imported(client: RunnerClient) -> set[str]:
        maps = Path(f"/proc/{client.process.pid}/maps").read_text()
        return {name for name in ("llguidance", "numpy") if f"/{name}/" in maps}

    with loaded_runner(tiny_chat(), context_tokens=128) as client:
        client.complete("x", max_tokens=2)
        assert imported(client) == set()
        client.complete("x", constraint=JSON, max_tokens=2)
        assert imported(client) == {"llguidance", "numpy"}


def test_control_tokens_are_text_where_the_reader_asks_for_them(runner: RunnerClient) -> None:
    grammar = p.Constraint(
        kind=p.ConstraintKind.LARK,
        text='start: "a" sep "b" until_sep "."',
        marks={"sep": "<|im_start|>"},
    )
    shown = runner.complete(
        chat("Go."), constraint=grammar, marks=["<|im_start|>assistant"], max_tokens=40
    )
    hidden = runner.complete(chat("Go."), constraint=grammar, max_tokens=40)
    assert shown.text.startswith("a<|im_start|>b")
    assert hidden.text.startswith("ab")
    assert "<|im_start|>" not in hidden.text


def test_a_mark_that_is_no_control_token_is_written_as_text(runner: RunnerClient) -> None:
    grammar = p.Constraint(
        kind=p.ConstraintKind.LARK,
        text="start: open until_close",
        marks={"open": "<call>", "close": "</call>"},
    )
    done = runner.complete(
        chat("Count: one, two,"),
        constraint=grammar,
        sampling=p.Sampling(temperature=0.0),
        max_tokens=60,
    )
    assert done.text.startswith("<call>")
    if done.end.reason is p.EndReason.STOP:
        assert done.text.endswith("</call>")
        assert done.text.count("</call>") == 1


def test_a_grammar_with_a_multiple_that_is_too_large_is_refused(runner: RunnerClient) -> None:
    grammar = p.Constraint(
        kind=p.ConstraintKind.LARK, text='start: %json {"type":"integer","multipleOf":1000003}'
    )
    with pytest.raises(RunnerFailure, match="multipleOf is taken up to 20000"):
        runner.complete("x", constraint=grammar, max_tokens=4)


def test_a_bias_chooses_among_what_the_form_allows(runner: RunnerClient) -> None:
    wanted = schema({"enum": ["red", "blue"]})
    for word in ("red", "blue"):
        (token,) = runner.tokenize(word, add_special=False)
        one = runner.complete(STORY, max_tokens=9, constraint=wanted, logit_bias={token: 100.0})
        assert one.text == f'"{word}"'
    # What the form demands comes although it is forbidden.
    forbidden = dict.fromkeys(runner.tokenize('"red"', add_special=False), -100.0)
    one = runner.complete(
        STORY, max_tokens=9, constraint=schema({"const": "red"}), logit_bias=forbidden
    )
    assert one.text == '"red"'
