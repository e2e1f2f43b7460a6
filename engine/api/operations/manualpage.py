"""The description of the API as one page of HTML: no script, nothing from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 60rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; border-radius: .3rem; }
nav ul { columns: 18rem; list-style: none; padding: 0; }
nav a, td, h3 code { overflow-wrap: anywhere; }
article { border-top: 1px solid var(--line); padding: .5rem 0; }
h3 { margin: .5rem 0; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
td { border-top: 1px solid var(--line); }
"""


def page_of(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document that `openapidocument` made."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])} {escape(info['version'])}: HTTP API</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<header><h1>{escape(info['title'])} {escape(info['version'])}: HTTP API</h1>",
        f"<p>{escape(info['description'])} The same for programs: ",
        '<a href="/openapi.json">openapi.json</a>.</p></header>',
        *_contents(document),
        "<main>",
    ]
    for tag in document["tags"]:
        parts.append(f"<section><h2>{escape(tag['name'])}</h2>")
        parts.append(f"<p>{escape(tag['description'])}</p>")
        for path, method, operation in _operations(document):
            if tag["name"] in operation["tags"]:
                parts += _article(document, path, method, operation)
        parts.append("</section>")
    parts.append("</main></body></html>")
    return "".join(parts)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "head" or len(methods) == 1:
                yield path, method, operation


def _contents(document: dict[str, Any]) -> Iterator[str]:
    yield '<nav aria-label="Routes"><ul>'
    for path, method, operation in _operations(document):
        yield f'<li><a href="#{operation["operationId"]}">{method.upper()} {escape(path)}</a></li>'
    yield "</ul></nav>"


def _article(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> Iterator[str]:
    yield f'<article id="{operation["operationId"]}">'
    yield f'<h3><code><span class="method">{method.upper()}</span> {escape(path)}</code></h3>'
    yield f"<p>{escape(operation['summary'])}.</p>"
    if "description" in operation:
        yield f"<p>{escape(operation['description'])}</p>"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Takes <code>{escape(media_type)}</code>"
        yield from _members(document, content["schema"])
    for media_type, content in operation["responses"]["200"].get("content", {}).items():
        yield f"<p>Gives <code>{escape(media_type)}</code>"
        yield from _members(document, content.get("schema", {}))
    yield "</article>"


def _members(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """The end of a sentence, then a table where members are known."""
    name = schema.get("$ref", "").rpartition("/")[2]
    properties = document["components"]["schemas"].get(name, {}).get("properties", {})
    if not properties:
        yield ".</p>"
        return
    yield ":</p><div class=scroll><table><tr><th>member<th>type<th>meaning</tr>"
    for member, about in properties.items():
        kind, text = escape(_type_of(about)), escape(about.get("description", ""))
        yield f"<tr><td><code>{escape(member)}</code><td>{kind}<td>{text}</tr>"
    yield "</table></div>"


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        kinds = [_type_of(each) for each in schema["anyOf"]]
        return " or ".join(kind for kind in kinds if kind != "null")
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items', {}))}"
    return str(schema.get("type", "any JSON"))
