"""Streams, fingerprints, items of work, molecules, runs and columns: small laws of each."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_store.errors import StoreError, WorkspaceError, unknown_name
from data_store.fingerprints import canonical_json, fingerprint
from data_store.molecules import UNCONNECTED, Molecule
from data_store.parts import write_part
from data_store.runs import Run, runs_from_part, runs_to_columns
from data_store.streams import stream, stream_seed
from data_store.work import item_keys, load_item, save_item, write_atomic

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def water() -> Molecule:
    return Molecule(
        name="water",
        numbers=(8, 1, 1),
        bonds=((0, 1), (0, 2)),
        bond_orders=(1, 1),
        formal_charges=(0, 0, 0),
        multiplicity=1,
        reference_positions=np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    )


def test_streams_are_told_apart_by_path_and_seed() -> None:
    draws = [stream(s, *p).random() for s in (0, 1) for p in (("a",), ("b",), ("a", 1), ("a", "1"))]
    assert len(set(draws)) == len(draws)
    assert stream(0, "a").random() == stream(0, "a").random()
    assert 0 <= stream_seed(3, "x") < 2**63


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_fingerprints_ignore_the_order_of_keys(data: dict[str, object]) -> None:
    backwards = dict(reversed(list(data.items())))
    assert fingerprint(data) == fingerprint(backwards)
    assert json.loads(canonical_json(data)) == json.loads(json.dumps(data))


def test_fingerprints_tell_values_apart() -> None:
    assert len({fingerprint({"a": v}) for v in (1, 1.5, "1", None, True, [1])}) == 6


def test_items_wait_and_are_found(tmp_path: Path) -> None:
    assert load_item(tmp_path, "000001") is None
    save_item(tmp_path, "000001", {"forces": np.eye(3)}, {"converged": True})
    save_item(tmp_path, "000000", {}, {})
    found = load_item(tmp_path, "000001")
    assert found is not None
    np.testing.assert_array_equal(found[0]["forces"], np.eye(3))
    assert found[1] == {"converged": True}
    assert item_keys(tmp_path) == ["000000", "000001"]


@given(content=st.binary(max_size=64))
def test_a_damaged_item_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("work")
    (folder / "k.npz").write_bytes(content)
    with pytest.raises(StoreError, match="made anew"):
        load_item(folder, "k")


def test_writing_below_a_file_is_a_workspace_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        write_atomic(tmp_path / "file" / "x", b"")


def test_molecule_survives_json() -> None:
    back = Molecule.from_json(json.loads(json.dumps(water().to_json())))
    assert back.formula == water().formula == "H2O"
    assert back.bonds == water().bonds
    np.testing.assert_array_equal(back.reference_positions, water().reference_positions)


def test_bond_distances_are_a_metric() -> None:
    distance = water().bond_distance_matrix()
    np.testing.assert_array_equal(distance, [[0, 1, 1], [1, 0, 2], [1, 2, 0]])
    lone = Molecule("pair", (2, 2), (), (), (0, 0), 1, np.array([[0.0, 0, 0], [3.0, 0, 0]]))
    assert lone.bond_distance_matrix()[0, 1] == UNCONNECTED


@pytest.mark.parametrize(
    "change", [{"bonds": ((1, 0), (0, 2))}, {"formal_charges": (0,)}, {"multiplicity": 2}]
)
def test_an_inconsistent_molecule_is_refused(change: dict[str, object]) -> None:
    fields = {**water().__dict__, **change}
    with pytest.raises(StoreError):
        Molecule(**fields)


def test_runs_survive_the_store(tmp_path: Path) -> None:
    runs = [
        Run(0, 5, "survived", 2.0),
        Run(1, 6, "failed", 0.25, "bond_stretch", (0, 3), 0.61),
        Run(2, 7, "failed", 0.0, "not_finite"),
        Run(3, 8, "censored", 1.5),
    ]
    columns, metadata = runs_to_columns(runs)
    back = runs_from_part(write_part(tmp_path, "simulate", "a" * 64, columns, metadata))
    for before, after in zip(runs, back, strict=True):
        assert math.isnan(before.value) == math.isnan(after.value)
        assert repr(before) == repr(after)


@pytest.mark.parametrize(
    "fields",
    [
        (0, 0, "exploded", 1.0, "hot"),
        (0, 0, "failed", 1.0, ""),
        (0, 0, "survived", 1.0, "hot"),
        (0, 0, "survived", -1.0, ""),
        (0, 0, "survived", math.nan, ""),
    ],
)
def test_a_contradictory_run_is_refused(fields: tuple[object, ...]) -> None:
    with pytest.raises(StoreError):
        Run(*fields)  # type: ignore[arg-type]


def test_an_unknown_name_lists_the_valid_and_the_nearest() -> None:
    error = unknown_name("force field", "mmf94", ["mmff94", "uff"])
    assert "mmff94, uff" in str(error)
    assert "did you mean 'mmff94'" in str(error)
