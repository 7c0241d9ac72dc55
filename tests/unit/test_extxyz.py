"""Extended xyz goes out and comes back to the bit; anything else is refused by frame."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_store.errors import InputError
from data_store.extxyz import read_extxyz, write_extxyz
from data_store.structures import TIER_CODES, Structures, concatenate

NUMBER = st.floats(-1e6, 1e6, allow_nan=False)
SHARED = Path(os.environ.get("CAMPAIGN_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@st.composite
def structures(draw: st.DrawFn) -> Structures:
    batches = []
    for index in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 4))
        x = np.array(draw(st.lists(NUMBER, min_size=3 * count, max_size=3 * count)))
        batches.append(
            Structures.from_dense(
                np.array(draw(st.lists(st.integers(1, 90), min_size=count, max_size=count))),
                x.reshape(1, count, 3),
                energies=np.array([draw(NUMBER)]),
                forces=x[::-1].reshape(1, count, 3).copy(),
                charge=draw(st.integers(-2, 2)),
                multiplicity=draw(st.integers(1, 3)),
                tiers=TIER_CODES["noise"],
                parents=np.array([10 + index]),
                frames=np.array([draw(st.integers(0, 99))]),
                cell=np.diag([5.0, 6.0, 7.5]) if draw(st.booleans()) else None,
            )
        )
    return concatenate(batches)


@given(structures())
@settings(deadline=None, max_examples=50)
def test_a_round_trip_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, written: Structures
) -> None:
    path = tmp_path_factory.mktemp("xyz") / "s.extxyz"
    write_extxyz(path, written)
    read = read_extxyz(path)
    for name in ("numbers", "offsets", "charges", "multiplicities", "tiers", "parents", "frames",
                 "positions", "forces", "energies", "cells", "pbc"):  # fmt: skip
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), err_msg=name)


def test_ase_reads_what_we_write(tmp_path: Path) -> None:
    x = np.array([[[0.0, 0, 0], [0.96, 0, 0]]])
    made = Structures.from_dense(np.array([8, 1]), x, energies=np.array([-1.5]), forces=x * 2)
    write_extxyz(tmp_path / "a.extxyz", made)
    atoms = ase.io.read(tmp_path / "a.extxyz")
    assert atoms.get_potential_energy() == -1.5
    np.testing.assert_array_equal(atoms.get_forces(), 2 * x[0])


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("xyz") / "s.extxyz"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(InputError):
        read_extxyz(path)


HEADER = 'Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"'
FRAME = f"1\n{HEADER}\nH 0.0 0.0 0.0 0.0 0.0 0.0\n"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (FRAME.replace("energy=-1.0 ", ""), "frame 1 has no energy"),
        ("1\nProperties=species:S:1:pos:R:3 energy=1.0\nH 0.0 0.0 0.0\n", "frame 1 has no forces"),
        (FRAME.replace("energy=-1.0", "energy=nan"), "energy of frame 1 is not finite"),
        (FRAME.replace("0.0 0.0 0.0\n", "0.0 0.0 inf\n"), "forces of frame 1 is not finite"),
        (FRAME.replace("1\n", "2\n", 1), "not valid extended xyz"),
        (FRAME.replace("H ", "Xx "), "not valid extended xyz"),
        (FRAME.replace("1\n", "99999999999999\n", 1), "a frame of 99999999999999 atoms, and 1"),
        ("\n" + FRAME, "text after an empty line"),
    ],
)
def test_a_bad_frame_is_named(tmp_path: Path, second: str, message: str) -> None:
    path = tmp_path / "s.extxyz"
    path.write_text(FRAME + second)
    with pytest.raises(InputError, match=message):
        read_extxyz(path)
    assert len(read_extxyz(path, stop=1)) == 1, "the first frame alone is good"


def test_other_names_of_labels_are_known(tmp_path: Path) -> None:
    path = tmp_path / "s.extxyz"
    path.write_text(FRAME.replace("forces:R", "REF_forces:R").replace("energy", "REF_energy"))
    assert read_extxyz(path).labelled_energies().tolist() == [-1.0]


@pytest.mark.skipif(not SHARED.exists(), reason="the published reference data are not here")
def test_published_aspirin_is_read() -> None:
    found = read_extxyz(SHARED / "aspirin_rmd17_train1000.extxyz")
    assert len(found) == 1000
    assert set(found.atom_counts) == {21}
    assert np.abs(found.dense_forces().sum(axis=1)).max() < 0.05
    assert np.ptp(found.labelled_energies()) < 5.0
    assert set(found.parents) == {0}, "frames of one trajectory, in the order of its time"
    assert len(set(found.frames)) == 1000
