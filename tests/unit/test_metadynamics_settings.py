"""The table of metadynamics as users meet it: its page's example, and what is refused in words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from campaign.preflight import preflight
from campaign.spec.model import CampaignSpec, parse_spec
from data_store.errors import InputError
from tests.e2e.tiny import TINY
from tests.unit import pages
from tests.unit.test_plan import METADYNAMICS

PAGE = (pages.DOCS / "metadynamics.md").read_text(encoding="utf-8")
VARIABLE = METADYNAMICS["variables"][0]


def spec(table: dict[str, Any]) -> CampaignSpec:
    tables = tomllib.loads(TINY)
    tables["dynamics"]["metadynamics"] = table
    return parse_spec(tables, "test", Path())


def test_the_pages_example_is_a_table_that_is_accepted() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    found = spec(tomllib.loads(example)["dynamics"]["metadynamics"]).dynamics.metadynamics
    assert found is not None
    assert [variable.unit for variable in found.variables] == ["Å", ""]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**METADYNAMICS, "heigth_eV": 1.0}, "did you mean 'height_eV'"),
        (
            {**METADYNAMICS, "variables": [{**VARIABLE, "withd": 0.1}]},
            "variables.0.withd = 0.1: unknown key; did you mean 'width'",
        ),
        (
            {**METADYNAMICS, "variables": [{**VARIABLE, "grid_bins": 10}]},
            "take 100 or more",
        ),
        ({**METADYNAMICS, "pace_fs": 0.7}, "whole number of time steps"),
    ],
)
def test_one_mistake_is_one_message(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as found:
        spec(table)
    assert "1 problem\n" in str(found.value)


def test_atoms_that_are_not_there_are_refused_before_anything_runs() -> None:
    preflight(spec(METADYNAMICS))
    terms = [{"kind": "distance", "atoms": [0, 7]}]
    with pytest.raises(InputError, match="names atom 7, and there are 3 atoms"):
        preflight(spec({**METADYNAMICS, "variables": [{**VARIABLE, "terms": terms}]}))
