"""The code of `docs/store.md` runs on a part, and finds what was written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_store.parts import write_part
from data_store.structure_parts import structures_to_columns
from tests.laws.training_toys import toy_structures
from tests.unit.pages import DOCS


def test_the_page_reads_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = toy_structures(300)
    columns = structures_to_columns(structures)
    part = write_part(tmp_path / "workspace" / "parts", "sample", "a" * 64, columns, {})
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "store.md").read_text(encoding="utf-8")
    plain, ours = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(plain.replace("…", part.path.name), found)
    np.testing.assert_array_equal(found["group"]["positions"][:], structures.positions)
    assert found["group"]["energies"].attrs["unit"] == "eV"
    assert set(found["group"].array_keys()) == set(columns)
    exec(ours, found)
    assert len(found["dataset"]) == 300
    assert len(found["block"]) == 300
    assert len(found["batch"]) == 300 % 32
    for name in columns:
        assert f"`{name}`" in page, "every column is named"
