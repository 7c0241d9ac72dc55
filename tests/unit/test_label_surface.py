"""Labels lie on one surface: two methods or two spin states in one training are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.labeling.surface import check_one_method, check_one_spin, surface_of
from apps.labeling.task import check_labels, import_labels
from apps.sampling.molecule import molecule_from_smiles
from campaign.preflight import preflight
from campaign.spec.model import parse_spec
from data_store.columns import Column
from data_store.errors import InputError
from data_store.extxyz import frame_methods, read_extxyz
from data_store.parts import open_part, write_part

WATER = molecule_from_smiles("O")


def write(path: Path, *comments: str) -> Path:
    """Frames of water with what their comment lines say."""
    rng = np.random.default_rng(0)
    lines = []
    for comment in comments:
        lines += ["3", f"energy=-1.0 Properties=species:S:1:pos:R:3:forces:R:3 {comment}"]
        for symbol, x in zip(WATER.symbols, WATER.reference_positions, strict=True):
            row = [*(x + 0.02 * rng.normal(size=3)), *rng.normal(size=3)]
            lines.append(" ".join([symbol, *(f"{value:.6f}" for value in row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_two_spins_of_one_molecule_are_refused_and_named(tmp_path: Path) -> None:
    mixed = write(tmp_path / "m.extxyz", "", "multiplicity=1", "multiplicity=3")
    with pytest.raises(InputError, match=r"frame 2 has charge 0 and multiplicity 3.*charge 0"):
        check_labels(mixed, WATER)
    ions = write(tmp_path / "i.extxyz", "charge=1 multiplicity=2", "")
    with pytest.raises(InputError, match="charge 1 and multiplicity 2"):
        check_labels(ions, WATER)
    one = write(tmp_path / "one.extxyz", "multiplicity=3", "multiplicity=3")
    assert len(check_labels(one, WATER)) == 2
    other = write(tmp_path / "other.extxyz", "")
    with pytest.raises(InputError, match=r"other\.extxyz: frame 0"):
        check_one_spin([(path, read_extxyz(path)) for path in (one, other)])


def test_two_methods_are_refused_unless_they_are_said_to_be_one(tmp_path: Path) -> None:
    one = write(tmp_path / "one.extxyz", 'method="PBE/def2-SVP"', "")
    two = write(tmp_path / "two.extxyz", "method=pbe_svp")
    silent = write(tmp_path / "silent.extxyz", "", 'note="a method of old"')
    assert [frame_methods(p) for p in (one, two, silent)] == [
        {"PBE/def2-SVP": 1}, {"pbe_svp": 1}, {},
    ]  # fmt: skip
    check_one_method([one, silent])
    check_one_method([])
    with pytest.raises(InputError, match=r"'PBE/def2-SVP'.*'pbe_svp'") as refused:
        check_one_method([one, two])
    assert 'labels.same_method = ["PBE/def2-SVP", "pbe_svp"]' in str(refused.value)
    check_one_method([one, two], ("pbe_svp", "PBE/def2-SVP"))
    with pytest.raises(InputError, match="two methods"):
        check_one_method([one, two], ("pbe_svp", "B3LYP"))


def test_preflight_refuses_two_methods(tmp_path: Path) -> None:
    train = write(tmp_path / "train.extxyz", *["method=PBE"] * 8)
    tests = write(tmp_path / "test.extxyz", *["method=B3LYP"] * 4)
    tables: dict[str, Any] = {
        "campaign": {"name": "two"},
        "system": {"name": "water", "smiles": "O"},
        "labels": {"source": "file", "file": str(train), "test_file": str(tests)},
        "finetuning": {"pools": [8], "seeds": [0]},
        "dynamics": {"replicas": 3},
    }
    with pytest.raises(InputError, match="labels by two methods: 'PBE'"):
        preflight(parse_spec(tables, "test", tmp_path))
    tables["labels"]["same_method"] = ["PBE", "B3LYP"]
    preflight(parse_spec(tables, "test", tmp_path))


def test_imported_labels_name_their_surface(tmp_path: Path) -> None:
    file = write(tmp_path / "one.extxyz", "method=PBE", "method=PBE")
    molecule = write_part(
        tmp_path / "parts", "prepare", "m" * 64, {"none": Column(np.zeros(1))},
        {"molecule": WATER.to_json()},
    )  # fmt: skip
    request = Request(
        str(tmp_path / "parts"), str(tmp_path / "work"), "label", "d" * 64, {}, 0,
        inputs={"molecule": [str(molecule.path)]}, files={"labels": str(file)},
    )  # fmt: skip
    import_labels(request.to_json())
    part = open_part(tmp_path / "parts" / "label" / ("d" * 64))
    surface = part.manifest["provenance"]["surface"]
    assert surface["method"]["frames_say"] == {"PBE": 2}
    assert (surface["charges"], surface["multiplicities"]) == ([0], [1])
    assert "surface" not in part.metadata


def test_fingerprints_tell_surfaces_apart(tmp_path: Path) -> None:
    one = read_extxyz(write(tmp_path / "one.extxyz", ""))
    triplet = read_extxyz(write(tmp_path / "three.extxyz", "multiplicity=3"))
    prints = {
        surface_of(method, structures)["fingerprint"]
        for method in ({"functional": "PBE"}, {"functional": "PBE0"})
        for structures in (one, triplet)
    }
    assert len(prints) == 4
    assert surface_of({"a": 1}, one) == surface_of({"a": 1}, one)


@pytest.mark.parametrize("text", ["3\n", "three\nmethod=PBE\n"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.extxyz").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not valid extended xyz"):
        frame_methods(tmp_path / "x.extxyz")
