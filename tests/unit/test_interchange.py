"""Formats of others: exact there and back, units converted, and no input that breaks a reader."""

from __future__ import annotations

import itertools
import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import ase.units
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.interchange.convention import Convention
from data_store.interchange.formats import FORMATS, format_of
from data_store.structures import TIERS, Structures, concatenate

lmdb = pytest.importorskip("lmdb", reason="the extra `formats` is not installed")
h5py = pytest.importorskip("h5py", reason="the extra `formats` is not installed")

FRESH = itertools.count()
"""Names of files: hypothesis gives each example the same random numbers."""

ANY = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def some_structures(draw: st.DrawFn, labelled: bool = True) -> Structures:
    """Ragged, of any elements, some periodic in some directions."""
    count, seed = draw(st.integers(1, 5)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    atoms = rng.integers(1, 6, count)
    total = int(atoms.sum())
    kind = draw(st.sampled_from([np.float32, np.float64]))
    pbc = rng.random((count, 3)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    cells = (rng.normal(size=(count, 3, 3)) + 9.0 * np.eye(3)) * pbc[:, :, None]
    return Structures(
        numbers=rng.integers(1, 119, total).astype(np.uint8),
        positions=(10.0 ** rng.uniform(-3, 3) * rng.normal(size=(total, 3))).astype(kind),
        offsets=np.concatenate([[0], np.cumsum(atoms)]).astype(np.int64),
        cells=cells,
        pbc=pbc,
        charges=rng.integers(-3, 4, count).astype(np.int16),
        multiplicities=rng.integers(1, 6, count).astype(np.int16),
        tiers=rng.integers(0, len(TIERS), count).astype(np.uint8),
        parents=rng.integers(0, 10**6, count),
        frames=rng.integers(0, 10**6, count),
        energies=rng.normal(size=count) * 1e4 if labelled else None,
        forces=rng.normal(size=(total, 3)).astype(kind) if labelled else None,
    )


def assert_equal(found: Structures, expected: Structures) -> None:
    """Equal in every value; float32 may have become float64."""
    for name, value in vars(expected).items():
        other = getattr(found, name)
        assert (other is None) == (value is None), name
        if value is not None:
            np.testing.assert_array_equal(other, value, err_msg=name)


def blocks(structures: Structures) -> Iterator[Structures]:
    """One by one."""
    return (structures.slice(i, i + 1) for i in range(len(structures)))


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(data=st.data())
@ANY
def test_there_and_back_is_exact(name: str, tmp_path: Path, data: st.DataObject) -> None:
    kind = FORMATS[name]
    expected = data.draw(some_structures(labelled="xyz" in name or data.draw(st.booleans())))
    path = tmp_path / f"{next(FRESH)}{kind.suffixes[0] if kind.suffixes else ''}"
    kind.write(path, blocks(expected))
    read = list(format_of(path, None if kind.suffixes else name).read(path, Convention(), 2))
    assert_equal(concatenate(read), expected)
    assert all(len(block) <= 2 for block in read)
    if not kind.loses:
        assert read[0].positions.dtype == expected.positions.dtype


@pytest.mark.parametrize("name", ["ase-db", "mace-hdf5", "lmdb"])
def test_others_open_what_we_write(name: str, tmp_path: Path) -> None:
    """By ASE and h5py alone."""
    water = molecule("H2O")
    structures = Structures.from_dense(
        water.numbers, water.positions[None], energies=[-5.0], forces=np.ones((1, 3, 3))
    )
    path = tmp_path / f"x{FORMATS[name].suffixes[0]}"
    FORMATS[name].write(path, iter([structures]))
    if name == "ase-db":
        atoms = ase.db.connect(path).get_atoms(1)
        assert atoms.get_potential_energy() == -5.0
    elif name == "mace-hdf5":
        with h5py.File(path) as file:
            group = file["config_batch_0"]["config_0"]
            assert group["properties"]["energy"][()] == -5.0
            assert list(group["atomic_numbers"][()]) == [8, 1, 1]
    else:
        from ase.io.jsonio import decode

        opened = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
        with opened, opened.begin() as transaction:
            row = decode(zlib.decompress(transaction.get(b"1")).decode())
            assert zlib.decompress(transaction.get(b"nextid")) == b"2"
        assert row["energy"] == -5.0
        np.testing.assert_array_equal(row["numbers"], [8, 1, 1])


def test_labels_for_mace_are_arrays_of_the_file_and_no_results(tmp_path: Path) -> None:
    water = molecule("H2O")
    structures = Structures.from_dense(
        water.numbers, water.positions[None], energies=[-5.0], forces=np.ones((1, 3, 3))
    )
    FORMATS["mace-extxyz"].write(tmp_path / "x.xyz", iter([structures]))
    atoms = ase.io.read(tmp_path / "x.xyz")
    assert atoms.calc is None
    assert atoms.info["REF_energy"] == -5.0
    np.testing.assert_array_equal(atoms.arrays["REF_forces"], np.ones((3, 3)))


@given(some_structures())
@ANY
def test_extxyz_in_other_units_is_converted(tmp_path: Path, expected: Structures) -> None:
    path = tmp_path / f"{next(FRESH)}.xyz"
    FORMATS["extxyz"].write(path, blocks(expected))
    atomic = Convention("Hartree", "Bohr", "gradients")
    found = concatenate(list(FORMATS["extxyz"].read(path, atomic, 2)))
    hartree, bohr = ase.units.Hartree, ase.units.Bohr
    for name, unit in (
        ("positions", bohr), ("cells", bohr), ("energies", hartree), ("forces", -hartree / bohr)
    ):  # fmt: skip
        value = np.asarray(getattr(expected, name), dtype=np.float64) * unit
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found.numbers, expected.numbers)


def test_what_ase_wrote_is_read(tmp_path: Path) -> None:
    water = molecule("H2O", cell=[9.0] * 3, pbc=True)
    water.calc = SinglePointCalculator(water, energy=-14.0, forces=np.zeros((3, 3)))
    with ase.db.connect(tmp_path / "w.db") as database:
        database.write(water, charge=0)
    (found,) = FORMATS["ase-db"].read(tmp_path / "w.db", Convention(), 10)
    assert found.energies is not None
    assert found.energies[0] == -14.0
    assert found.pbc.all()
    assert TIERS[found.tiers[0]] == "imported"


def revised_md17(path: Path, **changes: Any) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    held = {
        "nuclear_charges": np.array([8, 1, 1]), "coords": rng.normal(size=(4, 3, 3)),
        "energies": rng.normal(size=4), "forces": rng.normal(size=(4, 3, 3)),
        "old_indices": np.array([7, 3, 9, 1]),
    }  # fmt: skip
    np.savez(path, **{**held, **changes})
    return held["forces"]


def test_units_are_converted_and_signs_too(tmp_path: Path) -> None:
    path = tmp_path / "md.npz"
    forces = revised_md17(path)
    (kcal,) = FORMATS["npz"].read(path, Convention("kcal/mol"), 10)
    (atomic,) = FORMATS["npz"].read(path, Convention("Hartree", "Bohr", "gradients"), 10)
    assert kcal.forces is not None
    assert atomic.forces is not None
    per_kcal = ase.units.kcal / ase.units.mol
    np.testing.assert_allclose(kcal.forces, per_kcal * forces.reshape(-1, 3), rtol=1e-6)
    per_atomic = -ase.units.Hartree / ase.units.Bohr
    np.testing.assert_allclose(atomic.forces, per_atomic * forces.reshape(-1, 3), rtol=1e-6)
    np.testing.assert_allclose(atomic.positions, ase.units.Bohr * kcal.positions, rtol=1e-6)
    assert kcal.frames.tolist() == [7, 3, 9, 1]
    assert set(kcal.parents.tolist()) == {0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"coords": np.zeros((4, 3))}, "expected N numbers"),
     ({"coords": np.full((4, 3, 3), np.nan)}, "positions of structure 0 is not finite"),
     ({"energies": np.zeros(3)}, "energies of shape"),
     ({"nuclear_charges": np.array([0, 1, 1])}, "no element"),
     ({"forces": np.zeros((4, 2, 3))}, "forces of shape"),
     ({"energies": np.array([object()] * 4)}, "pickled")],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    revised_md17(tmp_path / "md.npz", **changes)
    with pytest.raises(InputError, match=said):
        list(FORMATS["npz"].read(tmp_path / "md.npz", Convention(), 10))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "old.lmdb"
    with lmdb.open(str(path), subdir=False, lock=False) as opened, opened.begin(write=True) as t:
        t.put(b"nextid", zlib.compress(b"2"))
        t.put(b"1", pickle.dumps({"numbers": [1]}, protocol=4))
    with pytest.raises(InputError, match="is a pickle"):
        list(FORMATS["lmdb"].read(path, Convention(), 10))


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, "ä\n1\nx".encode(), b"PK\x03\x04" * 9])
def test_what_is_of_no_format_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x{''.join(FORMATS[name].suffixes[:1])}"
    path.write_bytes(content)
    with pytest.raises(InputError):
        list(FORMATS[name].read(path, Convention(), 10))
    with pytest.raises(InputError):
        list(FORMATS[name].read(tmp_path / "absent", Convention(), 10))


def _read_or_refused(name: str, path: Path) -> None:
    try:
        read = list(FORMATS[name].read(path, Convention(), 3))
    except InputError:
        return
    for structures in read:  # what comes out is of right shapes: `Structures` checks itself
        assert len(structures) >= 1


@pytest.mark.parametrize("name", ["extxyz", "npz"])
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mangled_files_are_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"x{FORMATS[name].suffixes[0]}"
    FORMATS[name].write(path, blocks(data.draw(some_structures())))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double"])):
            case "flip":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "double":
                content[at:at] = content[at : at + data.draw(st.integers(1, 40))]
        if not content:
            break
    path.write_bytes(bytes(content))
    _read_or_refused(name, path)


KEYS = st.sampled_from(["numbers", "positions", "cell", "pbc", "energy", "forces", "data"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.floats(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below),
    max_leaves=12,
)


@given(value=st.binary(max_size=60) | JSON)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_lmdb_is_read_or_refused(tmp_path: Path, value: Any) -> None:
    content = value if isinstance(value, bytes) else zlib.compress(json.dumps(value).encode())
    path = tmp_path / f"{next(FRESH)}.aselmdb"
    with lmdb.open(str(path), subdir=False, lock=False) as opened, opened.begin(write=True) as t:
        t.put(b"nextid", zlib.compress(b"2"))
        t.put(b"1", content)
    _read_or_refused("lmdb", path)
