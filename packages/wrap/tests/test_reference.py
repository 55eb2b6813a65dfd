"""What is published is what the reader reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import gpucore_wrap
from gpucore_wrap.reference import json_schema, page

PACKAGE = Path(gpucore_wrap.__file__).parent
HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
SPECS = [*HERE.parent.glob("examples/*.yaml"), HERE / "libraries" / "toolbox.yaml"]


def test_the_shipped_schema_and_the_page_are_up_to_date() -> None:
    assert json.loads((PACKAGE / "schema.json").read_text()) == json_schema()
    assert (ROOT / "docs" / "wrap-reference.md").read_text() == page()


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_schema_takes_what_the_reader_takes(spec: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the extra check of the JSON schema")
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(yaml.safe_load(spec.read_text()), json_schema())


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the extra check of the JSON schema")
    for wrong in (
        {},
        {"library": {"name": "t", "heders": []}},
        {"library": {"name": "1t"}},
        {"library": {"name": "t"}, "x": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, json_schema())
