"""What zod writes for its types is kept; recorded by `zod_schemas.mjs` beside the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.jsonschema.rewriting import rewrite
from support.grammar import accepts

RECORDED = Path(__file__).parents[2] / "support" / "recorded" / "zod_schemas.json"
CASES: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_what_zod_writes_is_taken_and_its_values_fit(name: str) -> None:
    case = CASES[name]
    schema = rewrite(case["schema"])
    for value in case["fitting"]:
        assert accepts(schema, value), (value, schema)
    for value in case["unfitting"]:
        assert not accepts(schema, value), (value, schema)
