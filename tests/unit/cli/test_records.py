"""The output stage: forms by flags, tables, JSON, templates, filters."""

import io
import json

import pytest

from olmkit.cli.errors import UsageError
from olmkit.cli.records.dataform import Record, data_form
from olmkit.cli.records.filters import begins, beside, boolean, contains, glob, one_of, until
from olmkit.cli.records.modellist import MODELS
from olmkit.cli.records.recordlist import Column, RecordList, show_value
from olmkit.cli.screen.terminal import Terminal

THINGS: list[Record] = [
    {
        "name": "alpha:latest",
        "digest": "sha256:" + "a1" * 32,
        "tags": ["x", "y"],
        "made_at": "2026-01-01T00:00:00+00:00",
        "state": "up",
        "parts": [{"layer_size": 3, "kind": "<w>"}],
    },
    {
        "name": "ghcr.io/team/beta:v1",
        "digest": "sha256:" + "b2" * 32,
        "tags": [],
        "made_at": "2026-02-01T00:00:00+00:00",
        "state": "down",
        "parts": [],
    },
]
LIST = RecordList(
    Column("NAME", "Name", lambda thing, _: thing["name"]),
    Column("THING ID", "ID", lambda thing, view: view.short(thing["digest"])),
    Column("TAGS", "Tags", lambda thing, _: ",".join(thing["tags"]), is_shown=False),
    quiet="name",
    filters={
        "name": glob("name"),
        "id": begins("digest"),
        "tag": contains("tags"),
        "state": one_of("state", ("up", "down")),
        "before": beside("name", "made_at", is_after=False),
        "since": beside("name", "made_at", is_after=True),
        "until": until("made_at"),
        "tagged": boolean(lambda thing: bool(thing["tags"])),
    },
)


def shown(**flags: object) -> str:
    screen = io.StringIO()
    LIST.show(THINGS, LIST.form(**flags), Terminal(stdout=screen))  # type: ignore[arg-type]
    return screen.getvalue()


def refusal(**flags: object) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        shown(**flags)
    return str(caught.value), caught.value.hint


def test_a_table_has_the_shown_columns_and_short_ids() -> None:
    assert shown() == shown(format="table")
    assert shown().splitlines() == [
        "NAME                    THING ID",
        "alpha:latest            a1a1a1a1a1a1",
        "ghcr.io/team/beta:v1    b2b2b2b2b2b2",
    ]
    assert THINGS[0]["digest"] in shown(no_trunc=True)


def test_json_is_an_object_a_line_by_either_spelling() -> None:
    assert shown(json=True) == shown(format="json") == shown(json=True, format="json")
    assert [json.loads(line) for line in shown(json=True).splitlines()] == THINGS


def test_quiet_prints_names() -> None:
    assert shown(quiet=True) == "alpha:latest\nghcr.io/team/beta:v1\n"


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("{{.Name}} {{.ID}}", "alpha:latest a1a1a1a1a1a1"),
        ("{{.name}}\\t{{.state}}", "alpha:latest\tup"),
        ("{{.Digest}}", "sha256:" + "a1" * 32),
        ("{{.MadeAt}}", "2026-01-01T00:00:00+00:00"),
        ("{{json .tags}}", '["x", "y"]'),
        ("{{json .}}", json.dumps(THINGS[0])),
        ("{{range .Parts}}{{.LayerSize}}{{json .kind}}{{end}}", '3"<w>"'),
        ('{{join .tags "-"}}', "x-y"),
        ('{{join (split .name ":") "+"}}', "alpha+latest"),
        ("{{upper .state}} {{title .state}} {{lower .Name}}", "UP Up alpha:latest"),
        ("{{truncate .name 3}}|{{pad .state 1 2}}|", "alp| up  |"),
        ('{{if eq .state "up"}}yes{{else}}no{{end}}', "yes"),
        ('{{printf "%.3s" .ID}}', "a1a"),
    ],
)
def test_a_template_makes_a_line_a_record(template: str, first: str) -> None:
    assert shown(format=template).splitlines()[0] == first


def test_a_table_by_template_has_the_titles_of_its_fields() -> None:
    text = shown(format="table {{.ID}}\\t{{upper .Name}}\\t{{.made_at}}", filters=["name=alpha"])
    assert text.splitlines() == [
        "THING ID        NAME            MADE AT",
        "a1a1a1a1a1a1    ALPHA:LATEST    2026-01-01T00:00:00+00:00",
    ]


def test_a_field_that_is_not_there_is_told_with_the_nearest() -> None:
    told, hint = refusal(format="{{.Nmae}}")
    assert told.startswith("template parsing error: template: :1:2: executing")
    assert 'map has no entry for key "Nmae"' in told
    assert hint == "did you mean '.Name'?"
    _, hint = refusal(format="{{.zzz}}")
    assert hint is not None
    assert hint.startswith("its fields are .name, .digest, ")
    assert "no entry" in refusal(format="{{range .parts}}{{.size}}{{end}}")[0]


@pytest.mark.parametrize("template", ["{{", "{{.Name", "{{nope .Name}}", "tabel", "{{end}}"])
def test_what_is_no_template_is_told(template: str) -> None:
    told, _ = refusal(format=template)
    assert "template" in told


@pytest.mark.parametrize(
    "flags",
    [
        {"quiet": True, "json": True},
        {"quiet": True, "format": "{{.Name}}"},
        {"json": True, "format": "{{.Name}}"},
    ],
)
def test_forms_that_contradict_each_other_are_refused(flags: dict[str, object]) -> None:
    assert "contradict each other" in refusal(**flags)[0]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["name=alpha"], "a"),
        (["name=ALPHA:*"], "a"),
        (["name=ghcr.io/*/*"], "b"),
        (["name=beta"], ""),
        (["id=a1a1"], "a"),
        (["id=sha256:b2"], "b"),
        (["tag=x"], "a"),
        (["state=up", "state=down"], "ab"),
        (["state=up", "name=ghcr*"], ""),
        (["before=ghcr.io/team/beta:v1"], "a"),
        (["since=alpha"], "b"),
        (["until=2026-01-15"], "a"),
        (["until=1h"], "ab"),
        (["tagged=false"], "b"),
    ],
)
def test_filters_of_one_key_add_up_and_keys_narrow_down(filters: list[str], names: str) -> None:
    wanted = {"a": "alpha:latest", "b": "ghcr.io/team/beta:v1"}
    assert shown(quiet=True, filters=filters).split() == [wanted[name] for name in names]


@pytest.mark.parametrize(
    ("filters", "told", "hint"),
    [
        (["nam=x"], "unknown filter 'nam'", "did you mean 'name'?"),
        (["zzz=x"], "unknown filter 'zzz'", "its filters are before, id, name, since, "),
        (["name"], "--filter takes KEY=VALUE, not 'name'", None),
        (["=x"], "--filter takes KEY=VALUE, not '=x'", None),
        (["state=upp"], "invalid filter: 'upp' is no state", "did you mean 'up'?"),
        (["since=gamma"], "invalid filter: there is no 'gamma'", None),
        (["until=soon"], "'soon' is no time", "an age as 24h"),
        (["tagged=maybe"], "invalid filter: 'maybe' is neither", None),
    ],
)
def test_a_wrong_filter_says_which_there_are(
    filters: list[str], told: str, hint: str | None
) -> None:
    text, said = refusal(filters=filters)
    assert text.startswith(told)
    assert said is hint is None or (said or "").startswith(hint or "")


def test_one_value_is_for_people_a_line_of_json_or_a_template() -> None:
    screen = io.StringIO()
    terminal = Terminal(stdout=screen)
    value = {"client": "1", "daemon": None}
    fields = {"Client": {"Version": "1"}}
    for form in (
        data_form(),
        data_form(json=True),
        data_form(format="{{.Client.Version}} {{json .daemon}}"),
    ):
        show_value(value, form, terminal, lambda: terminal.data("people\n"), fields=fields)
    assert screen.getvalue() == 'people\n{"client": "1", "daemon": null}\n1 null\n'


def test_models_have_dockers_fields() -> None:
    model = {
        "name": "localhost:5000/m:v1",
        "digest": "c" * 64,
        "size": 98_362_583,
        "modified_at": "2026-01-02T03:04:05.5+01:00",
        "family": "llama",
        "parameter_size": "",
        "quantization": "Q4_1",
        "remote": False,
    }
    screen = io.StringIO()
    form = MODELS.form(format="{{.Repository}}|{{.Tag}}|{{.Digest}}|{{.CreatedAt}}|{{.Size}}")
    MODELS.show([model], form, Terminal(stdout=screen))
    assert screen.getvalue() == (
        f"localhost:5000/m|v1|sha256:{'c' * 64}|2026-01-02 02:04:05 +0000 UTC|98 MB\n"
    )
