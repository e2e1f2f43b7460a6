"""Hostile templates and data end in errors of ours, soon and without much memory."""

import tracemalloc
from typing import Any

import pytest

from olmkit.modelfile.gotemplate import (
    Limits,
    Template,
    TemplateError,
    TemplateExecutionError,
    TemplateLimitExceeded,
)

SMALL = Limits(
    source_chars=20_000, steps=20_000, output_chars=100_000, allocated_chars=1_000_000, calls=20
)


def exceeded(text: str, data: Any = None, limits: Limits = SMALL) -> str:
    with pytest.raises(TemplateLimitExceeded) as caught:
        Template.parse(text, limits=limits).execute(data)
    assert caught.value.allowed == getattr(limits, caught.value.limit)
    assert caught.value.hint
    return caught.value.limit


LONG = "é" * 100_000
TWO_LONG = {"A": LONG, "B": LONG + "x"}
DEEP_LIST: list[Any] = []
DEEP_MAP: dict[str, Any] = {}
for _ in range(3000):
    DEEP_LIST, DEEP_MAP = [DEEP_LIST], {"a": DEEP_MAP}


@pytest.mark.parametrize(
    ("text", "data", "limit"),
    [
        ("{{ range 9223372036854775807 }}{{ end }}", None, "steps"),
        ("{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}", None, "steps"),
        ("{{ range 10000 }}{{ range $.L }}{{ break }}{{ end }}{{ end }}",
         {"L": [1] * 9999}, "steps"),
        ("{{ range 10000 }}{{ range $.M }}{{ break }}{{ end }}{{ end }}",
         {"M": dict.fromkeys(map(str, range(999)))}, "steps"),
        ("{{ range 9999 }}{{ if eq $.A $.B }}{{ end }}{{ end }}", TWO_LONG, "steps"),
        ("{{ range 9999 }}{{ if lt $.A $.B }}{{ end }}{{ end }}", TWO_LONG, "steps"),
        ("{{ range 9999 }}{{ if len $.A }}{{ end }}{{ end }}", {"A": LONG}, "steps"),
        ("{{ range 9999 }}{{ if index $.A 1 }}{{ end }}{{ end }}", {"A": LONG}, "steps"),
        ("{{ range 9999 }}{{ if json $.A }}{{ end }}{{ end }}", {"A": [[]] * 999}, "steps"),
        ("{{ range 9999 }}{{ if print $.A }}{{ end }}{{ end }}", {"A": [""] * 999}, "steps"),
        ("{{ range 9999 }}{{ if html $.A }}{{ end }}{{ end }}", {"A": "<" * 999}, "steps"),
        ("{{ range 9999 }}0123456789ab{{ end }}", None, "output_chars"),
        ("{{ range 9999 }}{{ $.A }}{{ end }}", {"A": LONG}, "output_chars"),
        ('{{ printf "%1000000d" 1 }}{{ printf "%1000000d" 1 }}', None, "allocated_chars"),
        ('{{ printf "%-1000000s" "" }}', None, "allocated_chars"),
        ('{{ printf "%.1000000f" 1.5 }}', None, "allocated_chars"),
        ('{{ printf "%.1000000d" 1 }}', None, "allocated_chars"),
        ('{{ printf "%+01000000f" 1.5 }}', None, "allocated_chars"),
        ('{{ printf "%.1000000U" 1 }}', None, "allocated_chars"),
        ('{{ printf "%*d" 1000000 1 }}', None, "allocated_chars"),
        ('{{ printf "%9999v" .L }}', {"L": [1] * 9999}, "allocated_chars"),
        ('{{ $x := "ab" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}', None, "allocated_chars"),
        ('{{ $x := "<" }}{{ range 99 }}{{ $x = json (print $x $x) }}{{ end }}', None, "steps"),
        ("{{ range 9999 }}{{ $x := slice $.L 0 }}{{ end }}", {"L": [1] * 9999}, "allocated_chars"),
        ("{{ range 9999 }}{{ $x := slice $.A 2 }}{{ end }}", {"A": LONG}, "allocated_chars"),
        ('{{ printf "%q" .A }}', {"A": "\U0010ffff" * 70_000}, "allocated_chars"),
        ('{{ printf "%x" .A }}', {"A": LONG * 3}, "allocated_chars"),
        ("{{ $x := urlquery .A }}{{ $x = urlquery .A }}", {"A": "a" * 600_000}, "allocated_chars"),
        ('{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}', None, "calls"),
        ('{{ define "a" }}{{ template "a" . }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
         None, "calls"),
        ("{{ . }}", DEEP_LIST, "nesting"),
        ("{{ json . }}", DEEP_MAP, "nesting"),
        ("{{ " + "(" * 101 + "1" + ")" * 101 + " }}", None, "nesting"),
        ("{{ if 1 }}" * 101 + "{{ end }}" * 101, None, "nesting"),
        ("{{ if 1 }}" + "{{ else if 1 }}" * 101 + "{{ end }}", None, "nesting"),
        ("x" * 20_001, None, "source_chars"),
    ],
)  # fmt: skip
def test_every_excess_is_stopped_by_its_limit(text: str, data: Any, limit: str) -> None:
    assert exceeded(text, data) == limit


def test_variables_of_called_templates_are_paid_for() -> None:
    declared = "".join(f"{{{{ $v{index} := 1 }}}}" for index in range(500))
    defined = f'{{{{ define "a" }}}}{declared}{{{{ end }}}}'
    assert exceeded(defined + '{{ range 999 }}{{ template "a" . }}{{ end }}') == "steps"


def test_what_python_itself_cannot_recurse_into_is_an_error_of_ours() -> None:
    nested = "{{ if 1 }}" * 90 + '{{ template "a" . }}' + "{{ end }}" * 90
    text = f'{{{{ define "a" }}}}{nested}{{{{ end }}}}{{{{ template "a" . }}}}'
    assert exceeded(text) == "nesting"


def test_nesting_up_to_the_limit_works() -> None:
    inner = "{{ " + "(" * 99 + "7" + ")" * 99 + " }}"
    assert Template.parse("{{ if 1 }}" * 99 + inner + "{{ end }}" * 99).execute(None) == "7"


def test_memory_stays_within_a_small_multiple_of_the_allowance() -> None:
    template = Template.parse(
        '{{ $x := "\\"<" }}{{ range 99 }}{{ $x = json $x }}{{ end }}',
        limits=Limits(allocated_chars=2_000_000),
    )
    tracemalloc.start()
    try:
        with pytest.raises(TemplateLimitExceeded):
            template.execute(None)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12_000_000


def test_last_message_idiom_takes_no_memory_of_its_own() -> None:
    text = "{{ range $i, $_ := .L }}{{ if eq (len (slice $.L $i)) 1 }}{{ . }}{{ end }}{{ end }}"
    limits = Limits(allocated_chars=10)
    assert Template.parse(text, limits=limits).execute({"L": list("abc" * 1000)}) == "c"
    assert Template.parse("{{ len (slice .S 1) }}").execute({"S": "abc"}) == "2"
    with pytest.raises(TemplateExecutionError, match=r"<slice .L 9>: error calling slice: "):
        Template.parse("{{ len (slice .L 9) }}").execute({"L": []})


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("{{ .x }}", {"x": object()}, "templates cannot use a Python object"),
        ("{{ (.x).y }}", {"x": b"bytes"}, "templates cannot use a Python bytes"),
        ("{{ range .x }}{{ end }}", {"x": {1: 2}}, "templates need maps with string keys"),
        ("{{ print .x }}", {"x": {1: 2}}, "templates need maps with string keys"),
        ("{{ eq .x 1 }}", {"x": object()}, "templates cannot use a Python object"),
        ("{{ call .x }}", {"x": object()}, "templates cannot use a Python object"),
        ("{{ printf .x }}", {"x": object()}, "templates cannot use a Python object"),
        ("{{ range .x }}{{ end }}", {"x": {1, 2}}, "templates cannot use a Python set"),
        ("{{ .x }}", {"x": 10**5000}, "integer overflows 64 bits"),
    ],
)
def test_data_that_go_does_not_know_is_an_error_of_ours(text: str, data: Any, message: str) -> None:
    with pytest.raises(TemplateExecutionError, match=message):
        Template.parse(text).execute(data)


def test_errors_quote_no_more_than_a_thousand_characters() -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse("{{ range .A }}{{ end }}").execute({"A": "x" * 50_000})
    assert len(str(caught.value)) < 1200
    with pytest.raises(TemplateError) as caught:
        Template.parse("{{" + ".a" * 9_000 + "}}").execute({})
    assert len(str(caught.value)) < 1200
