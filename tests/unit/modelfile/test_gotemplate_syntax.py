import hashlib
from collections.abc import Callable
from typing import Any, cast

import lark
import pytest

from olmkit.modelfile.gotemplate import Template, TemplateSyntaxError
from olmkit.modelfile.gotemplate.limits import Limits
from olmkit.modelfile.gotemplate.syntax import expressions
from olmkit.modelfile.gotemplate.syntax.nodes import (
    ActionNode,
    FieldNode,
    IfNode,
    ListNode,
    RangeNode,
    TextNode,
    walk,
)
from olmkit.modelfile.gotemplate.syntax.templatescanner import Action, scan
from olmkit.modelfile.gotemplate.syntax.treebuilder import InvalidExpression


def test_saved_tables_belong_to_the_grammar() -> None:
    header = expressions._read("expression.lalr").partition(b"\n")[0].decode()
    grammar = expressions._read("expression.lark")
    assert header.split()[1] == hashlib.sha256(grammar).hexdigest(), "run `make generated`"


def test_tables_of_another_lark_are_passed_over() -> None:
    (action,) = scan("{{ len .A | print }}", name="", limits=Limits())
    assert isinstance(action, Action)
    parser = cast(Any, expressions.load(b"0.0.0 of-another-grammar\nno tables"))
    assert str(parser.parse(action.tokens)) == "len .A | print"


def test_tree_is_exposed_with_places() -> None:
    root = Template.parse("ab{{ if .X.Y }}{{ . }}{{ end }}").root
    assert isinstance(root, ListNode)
    text, branch = root.nodes
    assert isinstance(text, TextNode) and text.text == "ab"
    assert isinstance(branch, IfNode) and branch.otherwise is None
    field = next(node for node in walk(root) if isinstance(node, FieldNode))
    assert (field.names, field.position) == (("X", "Y"), len("ab{{ if .X"))


def test_else_if_is_an_if_alone_in_the_else() -> None:
    (outer,) = Template.parse("{{ if 1 }}a{{ else if 2 }}b{{ end }}").root.nodes
    assert isinstance(outer, IfNode) and outer.otherwise is not None
    (inner,) = outer.otherwise.nodes
    assert isinstance(inner, IfNode) and str(inner) == "{{if 2}}b{{end}}"


@pytest.mark.parametrize(
    "text",
    [
        "{{range $i, $v := .A.B}}x{{$i}}{{else}}{{break}}{{end}}",
        '{{with $x := (index .A 0 "k").C}}{{$x.D | printf "%s" 1}}{{end}}',
        "{{with .A}}{{else}}{{with nil}}{{end}}{{end}}",
        "{{$x = true}}{{template \"n\" .}}{{continue}}{{'a'}}{{1.50}}{{`r`}}",
        "{{if eq (len .A) 0}}a{{else}}{{if .}}b{{end}}{{end}}",
        '{{template "n"}}{{currentDate.X}}',
    ],
)
def test_tree_prints_in_canonical_form(text: str) -> None:
    around = f'{{{{$x := 1}}}}{{{{range .}}}}{text}{{{{end}}}}{{{{define "n"}}}}{{{{end}}}}'
    root = Template.parse(around).root
    assert str(root) == f"{{{{$x := 1}}}}{{{{range .}}}}{text}{{{{end}}}}"


def test_definitions_have_trees_of_their_own() -> None:
    template = Template.parse('a{{ define "x" }}b{{ block "y" . }}c{{ end }}{{ end }}', name="main")
    trees = {name: str(tree) for name, tree in template.trees.items()}
    assert trees == {"main": "a", "x": 'b{{template "y" .}}', "y": "c"}


def test_names_of_templates_stand_in_errors() -> None:
    with pytest.raises(TemplateSyntaxError, match=r"^template: m:2: unexpected EOF$"):
        Template.parse("\n{{ if 1 }}", name="m")
    text = '{{ define "in\\"ner" }}\n{{ .A.B.C }}{{ end }}{{ template "in\\"ner" . }}'
    with pytest.raises(
        Exception, match=r'^template: m:2:5: executing "in\\"ner" at <.A.B.C>: nil '
    ):
        Template.parse(text, name="m").execute({})


def test_columns_count_bytes() -> None:
    with pytest.raises(Exception, match=r"^template: :2:6: "):
        Template.parse("é\né{{.A.B}}").execute({})


def test_other_functions_can_be_given() -> None:
    with pytest.raises(TemplateSyntaxError, match='function "len" not defined'):
        Template.parse("{{ len . }}", functions={})


def test_an_action_of_a_hundred_kilobytes_is_read() -> None:
    text = "{{ print" + ' "a"' * 25_000 + " }}"
    assert Template.parse(text).execute(None) == "a" * 25_000


def test_empty_actions_never_reach_the_user_as_larks_errors() -> None:
    parse: Callable[[list[lark.Token]], object] = expressions.parse_pipeline
    with pytest.raises(InvalidExpression):
        parse([])


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("%v|%6.2f|%+v|% v", float("nan"), "NaN|   NaN|NaN| NaN"),
        ("%v|%06.2f|%-8v|%+v", float("inf"), "+Inf|  +Inf|+Inf    |+Inf"),
        ("%v|%06.2f|%e", float("-inf"), "-Inf|  -Inf|-Inf"),
    ],
)
def test_numbers_that_are_none_print_as_in_go(form: str, value: float, expected: str) -> None:
    arguments = " .x" * form.count("%")
    template = Template.parse(f'{{{{ printf "{form}"{arguments} }}}}{{{{ json .x }}}}')
    assert template.execute({"x": value}) == expected


def test_nothing_is_less_or_greater_than_nan_but_not_less_or_equal_is_greater() -> None:
    text = "{{ lt .x 1.0 }} {{ le .x 1.0 }} {{ gt .x 1.0 }} {{ ge .x 1.0 }} {{ eq .x .x }}"
    assert Template.parse(text).execute({"x": float("nan")}) == "false false true true false"


def test_range_node_keeps_its_else() -> None:
    (node,) = Template.parse("{{ range . }}a{{ else }}b{{ end }}").root.nodes
    assert isinstance(node, RangeNode) and node.otherwise is not None
    assert not isinstance(node.otherwise.nodes[0], ActionNode)
