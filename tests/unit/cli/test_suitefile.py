"""What a suite may say, and what is said of one that is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.cli.errors import NotFound, UsageError
from olmkit.cli.testing.suitefile import MAX_CASES, Expectations, read_suite
from olmkit.cli.testing.trials import chosen
from olmkit.cli.testing.variants import Variant, variants

WHOLE = """
models = ["demo", "hf.co/a/b:{quant}"]
quantizations = ["Q4_K_M", "Q8_0"]
system = "Be brief."
embedding_model = "minilm"
retries = 1
timeout = "2m"
[options]
temperature = 0
seed = 1

[[case]]
name = "short"
prompt = "Hi"

[[case]]
name = "long"
messages = [
  { role = "user", content = "Hi" },
  { role = "assistant", content = "Hello" },
  { role = "user", content = "Again" },
]
system = "Be long."
options = { seed = 2, num_predict = 8 }
format = "json"
think = false
retries = 0
timeout = 5
tools = [{ type = "function", function = { name = "f" } }]
[case.expect]
contains = ["a", "b"]
not_contains = "c"
regex = "^a"
exact = "ab"
schema = { type = "object" }
max_tokens = 8
max_prompt_tokens = 80
end = "stop"
time = { case = "short", at_most = 2.5 }
similar = { to = "x", at_least = 0.5 }
call = { name = "f", arguments = { a = 1 } }
refusal = false
"""


IN_YAML = """
models: [demo, "hf.co/a/b:{quant}"]
quantizations:
  - Q4_K_M
  - Q8_0
system: Be brief.
embedding_model: minilm
retries: 1
timeout: 2m
options: {temperature: 0, seed: 1}
cases:
  - name: short
    prompt: Hi
  - name: long
    messages:
      - {role: user, content: Hi}
      - {role: assistant, content: Hello}
      - {role: user, content: Again}
    system: >-
      Be
      long.
    options: {seed: 2, num_predict: 0x8}
    format: json
    think: false
    retries: 0
    timeout: 5
    tools: [{type: function, function: {name: f}}]
    expect:
      contains: [a, b]
      not_contains: c
      regex: ^a
      exact: "ab"
      schema: {type: object}
      max_tokens: 8
      max_prompt_tokens: 80
      end: stop
      time: {case: short, at_most: 2.5}
      similar: {to: x, at_least: .5}
      call: {name: f, arguments: {a: 1}}
      refusal: False
"""


def suite_file(folder: Path, text: str, name: str = "s.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_everything_that_there_is_to_say_is_read(tmp_path: Path) -> None:
    suite = read_suite(suite_file(tmp_path, WHOLE))
    assert suite.models == ("demo", "hf.co/a/b:{quant}")
    short, long = suite.cases
    assert short.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    )
    assert (short.options, short.retries, short.timeout_s) == (
        {"temperature": 0, "seed": 1},
        1,
        120,
    )
    assert short.expect == Expectations()
    assert short.line == 12
    assert long.messages[0]["content"] == "Be long."
    assert long.options == {"temperature": 0, "seed": 2, "num_predict": 8}
    assert (long.format, long.think, long.retries, long.timeout_s) == ("json", False, 0, 5)
    expect = long.expect
    assert (expect.contains, expect.not_contains) == (("a", "b"), ("c",))
    assert expect.similar is not None
    assert expect.similar.model == "minilm"
    assert expect.call is not None
    assert expect.call.arguments == {"a": 1}


def test_schemas_are_found_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "string"}')
    text = '[[case]]\nname = "a"\nprompt = "b"\nformat = "s.json"\nexpect.schema = "s.json"\n'
    [case] = read_suite(suite_file(tmp_path, text)).cases
    assert case.format == case.expect.schema == {"type": "string"}


CASE = '[[case]]\nname = "a"\nprompt = "b"\n'


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("model = 'demo'\n" + CASE, 1, "the suite has no key 'model'", "did you mean 'models'?"),
        (CASE + "promt = 'x'\n", 4, "'case' has no key 'promt'", "did you mean 'prompt'?"),
        (CASE + "expect = { contain = 'x' }\n", 4, "no key 'contain'", "did you mean 'contains'?"),
        (CASE + "[case.expect]\n\nregex = '('\n", 6, "no regular expression", None),
        (CASE + "expect.regex = '" + "a" * 5000 + "'\n", 4, "longer than 4096", None),
        (CASE + "[case.options]\ntemperatur = 0\n", 5, "is no parameter", "did you mean"),
        (CASE + "expect.max_tokens = 0\n", 4, "no whole number of 1 or more", None),
        (CASE + "expect.contains = [1]\n", 4, "neither a string nor an array", None),
        (CASE + "expect.refusal = 'yes'\n", 4, "neither true nor false", None),
        (CASE + "expect.end = 'soon'\n", 4, "none of stop, length, repeat", None),
        (CASE + "expect.time = { case = 'a', at_most = 2 }\n", 4, "names no earlier case", None),
        (CASE + "expect.time = { case = 'a' }\n", 4, "has a 'case' and 'at_most'", None),
        (CASE + "expect.similar = { to = 'x', at_least = 0.5 }\n", 4, "names no 'model'", None),
        (CASE + "expect.similar = { to = 'x' }\n", 4, "'at_least', a cosine", None),
        (CASE + "expect.call = {}\n", 4, "no 'name' of a tool", None),
        (CASE + "expect = 3\n", 4, "is no table", None),
        (CASE + "format = 'absent.json'\n", 4, "names no file with a JSON schema", None),
        (CASE + "timeout = 'soon'\n", 4, "is no time such as", None),
        (CASE + "retries = -1\n", 4, "no whole number", None),
        (CASE + "tools = [2026-01-01]\n", 4, "what JSON cannot say", None),
        (CASE + CASE, 5, "is that of an earlier case", None),
        ('[[case]]\nname = "a"\n', 1, "either a 'prompt' or 'messages'", None),
        ('[[case]]\nprompt = "a"\n', 1, "has no 'name'", None),
        ("case = 3\n", 1, "is no array of tables", None),
        ("models = ['m:{quant}']\n" + CASE, 1, "there are no 'quantizations'", None),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, said: str, hint: str | None
) -> None:
    name = suite_file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_suite(name)
    assert str(caught.value).startswith(f"{name}:{line}: ")
    assert said in str(caught.value)
    assert (hint or "") in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "has no cases"),
        (b"[[case]", "line 1"),
        (b"\xff", "is no UTF-8 text"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"#" * (1 << 20) + b"##", "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_suite_is_told_by_its_name(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(raw)
    with pytest.raises(UsageError, match=said) as caught:
        read_suite(str(path))
    assert str(path) in str(caught.value)


def test_a_suite_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_suite(str(tmp_path / "absent.toml"))


def test_the_matrix_has_every_model_with_every_quantization() -> None:
    found = variants(["demo", "m:{quant}", "./w.gguf"], ["q4_0", "q8_0"], Path("suites"))
    assert [(one.label, one.source, one.quantization) for one in found] == [
        ("demo", "demo", ""),
        ("m:q4_0", "m:q4_0", ""),
        ("m:q8_0", "m:q8_0", ""),
        ("./w.gguf q4_0", "suites/w.gguf", "q4_0"),
        ("./w.gguf q8_0", "suites/w.gguf", "q8_0"),
    ]
    assert variants(["/w-{quant}.gguf"], ["q4_0"], Path()) == (
        Variant(label="/w-q4_0.gguf", source="/w-q4_0.gguf", is_path=True),
    )


def test_a_filter_takes_parts_and_patterns_and_what_they_are_compared_to(tmp_path: Path) -> None:
    cases = read_suite(suite_file(tmp_path, WHOLE + '[[case]]\nname = "x"\nprompt = "y"\n')).cases
    names = [[case.name for case in chosen(cases, [one])] for one in ("x", "lo", "l*g", "?")]
    assert names == [["x"], ["short", "long"], ["short", "long"], ["x"]]
    assert chosen(cases, []) == cases
    with pytest.raises(UsageError, match="no case fits nothing"):
        chosen(cases, ["nothing"])


def test_the_largest_suite_is_read_once_and_not_once_a_case(tmp_path: Path) -> None:
    cases = "".join(f"[[case]]\nname = '{at}'\nprompt = 'x'\n" for at in range(MAX_CASES))
    suite = read_suite(suite_file(tmp_path, f"models = 'm'\n{cases}"))
    assert [case.line for case in suite.cases] == list(range(2, 3 * MAX_CASES, 3))


def test_a_suite_in_yaml_says_the_same(tmp_path: Path) -> None:
    in_toml = read_suite(suite_file(tmp_path, WHOLE))
    in_yaml = read_suite(suite_file(tmp_path, IN_YAML, "s.yaml"))
    lines = [case.line for case in in_yaml.cases]
    assert [IN_YAML.splitlines()[line - 1].strip() for line in lines] == [
        "- name: short",
        "- name: long",
    ]
    same = [replace(case, line=0) for case in in_yaml.cases]
    assert same == [replace(case, line=0) for case in in_toml.cases]
    assert (in_yaml.models, in_yaml.quantizations) == (in_toml.models, in_toml.quantizations)


def test_words_of_yaml_are_those_of_version_1_2(tmp_path: Path) -> None:
    text = "models: [no, 'on']\ncases: [{name: yes, prompt: off, expect: {contains: '12'}}]"
    suite = read_suite(suite_file(tmp_path, text, "s.yml"))
    assert suite.models == ("no", "on")
    assert (suite.cases[0].name, suite.cases[0].messages[0]["content"]) == ("yes", "off")
    assert suite.cases[0].expect.contains == ("12",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: [m\ncases: []", "expected ',' or ']' (at line 2, column 6)"),
        ("models: m\nmodels: n", "the key 'models' is given twice (at line 2, column 1)"),
        ("a: &a [1]\nb: [*a, *a]", "the alias *a is not taken (at line 2, column 5)"),
        (
            "a: !!python/name:os.system x",
            "os.system is not taken (at line 1, column 4)",
        ),
        ("a: 1\n---\nb: 1", "a second document begins (at line 2, column 1)"),
        pytest.param("[" * 500_000, "depth", id="flow"),
        pytest.param("- " * 500_000, "nested too deeply (at line 1, column", id="block"),
        ("[a]: 1", "a key is no text (at line 1, column 1)"),
        pytest.param(f"retries: {'9' * 5000}", "more than 400 digits (at line 1", id="digits"),
        ("just words", "the suite is no mapping"),
        ("a: \0", "control characters are not allowed"),
        ("models: m\ncases:\n  - name: a\n    promt: hi\n", ":3: a case has either"),
        ("models: m\ncases:\n  - name: a\n    prompt: hi\n    x: 1\n", ":5: 'cases' has no key"),
        ("models: m", "has no cases"),
    ],
)
def test_yaml_that_is_no_suite_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_suite(suite_file(tmp_path, text, "s.yaml"))
    assert told in str(caught.value)
