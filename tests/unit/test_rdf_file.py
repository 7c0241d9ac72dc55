"""g(r) from a file: read as it is meant, refused with what to do where it is not."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaign.report.rdf_file import read_rdf
from campaign.statistics.radial_distribution import count_pairs
from campaign.statistics.structural_failure import curve_errors
from data_store.errors import InputError
from data_store.streams import stream

R = 0.05 * np.arange(1, 200)


def written(path: Path, header: str, *columns: np.ndarray, between: str = " ") -> Path:
    rows = [between.join(f"{v:.6f}" for v in row) for row in np.stack(columns, axis=1)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "between"), [("r_A O-O H-O", " "), ("# r_A,O-O,O-H", ", "), ("r_A\tO-O\tO-H", "\t")]
)
def test_tables_in_any_of_the_forms_are_the_same(tmp_path: Path, header: str, between: str) -> None:
    path = written(tmp_path / "g.txt", header, R, np.ones(199), 1.0 + R, between=between)
    found = read_rdf(path)
    assert list(found.curves) == ["O-O", "O-H"]
    curve = found.curves["O-H"]
    np.testing.assert_allclose(curve.edges_A[:3], [0.025, 0.075, 0.125])
    assert curve.edges_A[-1] == pytest.approx(5.975)
    np.testing.assert_allclose(curve.g, 1.0 + R[: len(curve.g)])
    assert found.shown["O-H"].edges_A[-1] == pytest.approx(9.975)
    assert found.source == "the file g.txt"


def test_a_gas_is_held_to_a_file_of_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "g.txt", "r_A Ar-Ar", R[30:], np.ones(169))
    frames = stream(0, "gas").uniform(0.0, 14.0, (300, 60, 3))
    counts = count_pairs(frames, [18] * 60, np.eye(3) * 14.0)
    assert curve_errors(counts, read_rdf(path).curves)["Ar-Ar"] < 0.2
    bohr = written(tmp_path / "b.txt", "r_A Ar-Ar", R[30:], np.where(R[30:] < 4.0, 0.0, 1.0))
    assert curve_errors(counts, read_rdf(bohr).curves)["Ar-Ar"] > 2.0


BAD = {
    "no header": "0.1 1.0\n0.2 1.0\n",
    "unit unknown": "r O-O\n0.1 1.0\n0.2 1.0\n",
    "Bohr": "r_bohr O-O\n0.1 1.0\n0.2 1.0\n",
    "no such element": "r_A O-Q\n0.1 1.0\n0.2 1.0\n",
    "a pair twice": "r_A O-H H-O\n0.1 1 1\n0.2 1 1\n",
    "a word": "r_A O-O\n0.1 one\n0.2 1.0\n",
    "nan": "r_A O-O\n0.1 nan\n0.2 1.0\n",
    "huge": "r_A O-O\n-1e308 1.0\n1e308 1.0\n",
    "ragged": "r_A O-O\n0.1 1.0\n0.2 1.0 1.0\n",
    "uneven": "r_A O-O\n0.1 1\n0.2 1\n0.4 1\n",
    "falling": "r_A O-O\n0.2 1\n0.1 1\n",
    "negative": "r_A O-O\n0.1 -1.0\n0.2 1.0\n",
    "too far": "r_A O-O\n7.1 1.0\n7.2 1.0\n",
    "one row": "r_A O-O\n0.1 1.0\n",
    "empty": "\n",
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_no_such_table_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "g.txt"
    path.write_text(BAD[name], encoding="utf-8")
    with pytest.raises(InputError, match=r"g\.txt") as caught:
        read_rdf(path)
    assert caught.value.hint


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_rdf(tmp_path / "none.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(text=st.text(alphabet=string.printable, max_size=200), headed=st.booleans())
def test_any_text_is_read_or_refused(tmp_path: Path, text: str, headed: bool) -> None:
    path = tmp_path / "g.txt"
    path.write_bytes((("r_A O-O\n" if headed else "") + text).encode())
    try:
        found = read_rdf(path)
    except InputError:
        return
    assert all(np.isfinite(curve.g).all() for curve in found.curves.values())
