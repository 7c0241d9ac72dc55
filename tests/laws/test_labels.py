"""Labels: forces are gradients, failures are outcomes, and each label is kept once.

What holds for every labeler is tested on all that are registered, on water; the rest is PySCF's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.contract import Request
from apps.labeling.labeler import labeler_names, make_labeler
from apps.labeling.pyscf_names import knows_basis, nearest_bases, nearest_functionals
from apps.labeling.settings import LabelSettings, MethodSettings
from apps.labeling.task import label, merge_labels
from apps.sampling.molecule import molecule_from_smiles
from data_store.columns import Column
from data_store.errors import InputError, MethodError
from data_store.parts import open_part, write_part
from data_store.streams import stream
from data_store.structure_parts import read_structures, structures_to_columns
from data_store.structures import Structures

WATER = np.array([[0.0, 0, 0.12], [0, 0.76, -0.48], [0.05, -0.76, -0.5]])
NUMBERS = np.array([8, 1, 1])
WATER_MOLECULE = molecule_from_smiles("O")
QUICK = MethodSettings(functional="PBE", basis="STO-3G", grid_level=2)
METHODS = {"pyscf": QUICK} | {
    name: MethodSettings(labeler=name) for name in labeler_names() if name != "pyscf"
}
each_method = pytest.mark.parametrize("name", METHODS)


FINE = {
    name: method.model_copy(update={"grid_level": 5}) for name, method in METHODS.items()
} | {
    f"pyscf, {key} = {value}": QUICK.model_copy(update={"grid_level": 5, key: value})
    for key, value in {"density_fit": False, "dispersion": "d3bj", "functional": "PBE0"}.items()
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_forces_are_the_gradient(name: str) -> None:
    labeler = make_labeler(FINE[name])
    found = labeler.label(NUMBERS, WATER, 0, 1)
    assert found.outcome == "converged"
    assert np.abs(found.forces).max() > 0.1, "a law of zeros would hold for anything"
    direction = stream(0, "direction").normal(size=WATER.shape)
    step = 2e-3
    up, down = (
        labeler.label(NUMBERS, WATER + sign * step * direction, 0, 1).energy_eV for sign in (1, -1)
    )
    slope = -(found.forces * direction).sum()
    assert (up - down) / (2 * step) == pytest.approx(slope, abs=5e-3)


@each_method
def test_energy_does_not_turn(name: str) -> None:
    labeler = make_labeler(FINE[name])
    q, _ = np.linalg.qr(stream(1, "rotation").normal(size=(3, 3)))
    one, two = (labeler.label(NUMBERS, x, 0, 1) for x in (WATER, WATER @ q.T + 2.0))
    assert one.energy_eV == pytest.approx(two.energy_eV, abs=2e-4)
    np.testing.assert_allclose(two.forces, one.forces @ q.T, atol=5e-3)


@each_method
def test_every_label_is_of_the_shape_asked_for(name: str) -> None:
    labeler = make_labeler(METHODS[name])
    labeler.check(WATER_MOLECULE)
    before = WATER.copy()
    found, again = (labeler.label(NUMBERS, WATER, 0, 1) for _ in range(2))
    assert found.forces.shape == WATER.shape
    assert found.forces.dtype == np.float64
    assert isinstance(found.energy_eV, float)
    assert (found.energy_eV, found.forces.tolist()) == (again.energy_eV, again.forces.tolist())
    np.testing.assert_array_equal(WATER, before)


@each_method
def test_what_it_cannot_do_is_refused_beforehand(name: str) -> None:
    """Livermorium: refused with an error for the user, or labelled."""
    labeler, beyond = make_labeler(METHODS[name]), replace(WATER_MOLECULE, numbers=(116, 1, 1))
    try:
        labeler.check(beyond)
    except InputError:
        return
    assert labeler.label(np.array(beyond.numbers), WATER, 0, 1).outcome


XTB = ("gfn2-xtb", "gfn1-xtb")
each_xtb = pytest.mark.parametrize("name", XTB)


@each_xtb
def test_xtb_checks_electrons_itself(name: str) -> None:
    """tblite would label OH as a singlet without a word."""
    labeler, hydroxyl = make_labeler(METHODS[name]), np.array([[0.0, 0, 0], [0, 0, 0.97]])
    with pytest.raises(InputError, match="multiplicity 1"):
        labeler.label(np.array([8, 1]), hydroxyl, 0, 1)
    doublet = labeler.label(np.array([8, 1]), hydroxyl, 0, 2)
    assert doublet.outcome == "converged"
    assert np.isnan(doublet.spin_squared)
    anion = labeler.label(np.array([8, 1]), hydroxyl, -1, 1)
    assert (anion.outcome, anion.spin_squared) == ("converged", 0.0)
    assert anion.energy_eV != doublet.energy_eV


@each_xtb
def test_atoms_on_each_other_are_an_outcome_of_xtb(name: str) -> None:
    found = make_labeler(METHODS[name]).label(NUMBERS, np.zeros((3, 3)), 0, 1)
    assert found.outcome == "not_finite"


@each_xtb
@pytest.mark.parametrize(
    ("key", "value"),
    [("functional", "PBE0"), ("basis", "def2-TZVP"), ("density_fit", False), ("dispersion", "d4")],
)
def test_xtb_refuses_settings_of_another_method(name: str, key: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"labels\.{key}"):
        make_labeler(MethodSettings(labeler=name).model_copy(update={key: value}))


def test_the_two_tight_bindings_differ() -> None:
    one, two = (make_labeler(METHODS[name]).label(NUMBERS, WATER, 0, 1) for name in XTB)
    assert abs(one.energy_eV - two.energy_eV) > 1.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"functional": "PBQ"}, "nearest: PBE"),
        ({"functional": "wB97XX-V"}, "wB97X-V"),
        ({"functional": "zzzzzz"}, "examples: PBE"),
        ({"basis": "def2-SPV"}, "nearest: def2-SVP"),
        ({"basis": "zzzzzz"}, "examples: def2-SVP"),
    ],
)
def test_names_that_pyscf_does_not_know_come_with_the_nearest(
    fields: dict[str, Any], said: str
) -> None:
    """Before anything is computed, by what `campaign validate` calls."""
    with pytest.raises(InputError) as refused:
        make_labeler(QUICK.model_copy(update=fields)).check(WATER_MOLECULE)
    assert said in str(refused.value)


def test_a_basis_that_lacks_an_element_is_told_from_none() -> None:
    with pytest.raises(InputError, match=r"STO-3G' has no functions for Lv"):
        make_labeler(QUICK).check(replace(WATER_MOLECULE, numbers=(116, 1, 1)))


def test_every_name_that_is_suggested_can_be_used() -> None:
    for wrong in ("PBQ", "wB97XX-V", "B3LPY", "PBE00", "M062Y", "B97MV", "camb3lip"):
        assert nearest_functionals(wrong)
        for name in nearest_functionals(wrong):
            make_labeler(MethodSettings(functional=name))
    for wrong in ("def3", "def2-SPV", "cc-pVTX", "6-31H*", "sto3"):
        assert nearest_bases(wrong)
        for name in nearest_bases(wrong):
            assert any(knows_basis(name, symbol) for symbol in ("H", "C", "Cu", "I", "U"))


def test_an_open_shell_has_its_spin() -> None:
    hydroxyl = np.array([[0.0, 0, 0], [0, 0, 0.97]])
    found = make_labeler(QUICK).label(np.array([8, 1]), hydroxyl, 0, 2)
    assert found.outcome == "converged"
    assert found.spin_squared == pytest.approx(0.75, abs=0.02)


def test_spin_contamination_is_an_outcome() -> None:
    strict = QUICK.model_copy(update={"spin_contamination_max": 1e-6})
    hydroxyl = np.array([[0.0, 0, 0], [0, 0, 0.97]])
    assert make_labeler(strict).label(np.array([8, 1]), hydroxyl, 0, 2).outcome == (
        "spin_contaminated"
    )


STRETCHED = np.array([[0.0, 0, 0], [0, 0, 2.2]])
"""Triplet nitrogen, whose plain SCF ends on a saddle."""


def test_a_solution_that_is_no_minimum_is_followed_down() -> None:
    numbers = np.array([7, 7])
    loose = QUICK.model_copy(update={"spin_contamination_max": 3.0})  # bonds break, spins mix
    saddle = make_labeler(loose).label(numbers, STRETCHED, 0, 3)
    method = loose.model_copy(update={"stability": True})
    lower = make_labeler(method).label(numbers, STRETCHED, 0, 3)
    assert (saddle.step, saddle.outcome) == ("plain", "converged"), "unasked, nobody looks"
    assert (lower.step, lower.outcome) == ("plain, followed", "converged")
    assert lower.energy_eV < saddle.energy_eV - 0.5
    again = make_labeler(method).label(numbers, STRETCHED, 0, 3)
    assert again.energy_eV == lower.energy_eV


def test_what_stays_unstable_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.labeling.pyscf_labeler._FOLLOWED_AT_MOST", 0)
    labeler = make_labeler(QUICK.model_copy(update={"stability": True}))
    assert labeler.label(np.array([7, 7]), STRETCHED, 0, 3).outcome == "unstable"


@pytest.mark.parametrize("functional", ["PBE", "wB97X-V"])
def test_a_stable_label_is_what_it_was(functional: str) -> None:
    plain = QUICK.model_copy(update={"functional": functional, "density_fit": False})
    looked = plain.model_copy(update={"stability": True})
    one, other = (make_labeler(m).label(NUMBERS, WATER, 0, 1) for m in (plain, looked))
    assert (other.step, other.energy_eV) == ("plain", one.energy_eV)
    np.testing.assert_array_equal(other.forces, one.forces)


def test_settings_that_came_later_are_in_identities_where_they_say_something() -> None:
    assert not {"stability", "nlc_grid_level"} & set(QUICK.identity())
    other = QUICK.model_copy(update={"stability": True, "nlc_grid_level": 1})
    assert other.identity() == {**QUICK.identity(), "stability": True, "nlc_grid_level": 1}


def test_the_grid_of_vv10_decides_little() -> None:
    coarse, fine = (
        make_labeler(QUICK.model_copy(update={"functional": "wB97X-V", "nlc_grid_level": level}))
        .label(NUMBERS, WATER, 0, 1)
        .energy_eV
        for level in (0, 1)
    )
    assert 0.0 < abs(coarse - fine) < 5e-3


def test_the_fallbacks_converge_what_plain_does_not() -> None:
    # Three cycles are too few for a plain SCF; the chain's own attempts have more.
    hurried = make_labeler(QUICK.model_copy(update={"max_cycles": 3}))
    found = hurried.label(NUMBERS, WATER, 0, 1)
    assert found.outcome == "converged"
    assert found.step in {"shifted", "smeared"}
    patient = make_labeler(QUICK).label(NUMBERS, WATER, 0, 1)
    assert patient.step == "plain"
    assert found.energy_eV == pytest.approx(patient.energy_eV, abs=1e-5)


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match="no such functional"):
        make_labeler(MethodSettings(functional="PBQ"))
    with pytest.raises(InputError, match=r"labels\.basis"):
        make_labeler(MethodSettings(basis="def3")).label(NUMBERS, WATER, 0, 1)
    with pytest.raises(InputError, match="multiplicity 2"):
        make_labeler(QUICK).label(NUMBERS, WATER, 0, 2)
    with pytest.raises(InputError, match=r"valid: gfn1-xtb, gfn2-xtb.*pyscf"):
        make_labeler(MethodSettings(labeler="orca"))


@pytest.mark.parametrize(
    "fields",
    [{"source": "file"}, {"source": "pyscf", "file": "x.extxyz"}, {"source": "orca"}],
)
def test_sources_that_contradict_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"file|pyscf"):
        LabelSettings(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "tblite", "method": "GFN3-xTB"}, "valid: GFN1-xTB, GFN2-xTB"),
        ({"source": "tblite", "labeler": "pyscf"}, "contradicts"),
        ({"source": "pyscf", "method": "GFN2-xTB"}, 'source = "tblite"'),
        ({"source": "tblit"}, "valid: file, gfn1-xtb.*pyscf.*tblite"),
    ],
)
def test_settings_of_another_labeler_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LabelSettings(**fields)


def test_the_source_names_the_labeler_and_survives_json() -> None:
    for name in labeler_names():
        found = LabelSettings(source=name)
        assert found.labeler == name
        assert LabelSettings.model_validate_json(found.model_dump_json()) == found


def test_tblite_is_the_labeler_of_its_method() -> None:
    for method, name in {None: "gfn2-xtb", "GFN2-xTB": "gfn2-xtb", "GFN1-xTB": "gfn1-xtb"}.items():
        found = LabelSettings(source="tblite", method=method)
        assert found.identity() == MethodSettings(labeler=name).identity()
        assert LabelSettings.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("dispersion", ["d3bj", "d4"])
def test_dispersion_that_does_not_fit_is_refused_beforehand(dispersion: str) -> None:
    method = QUICK.model_copy(update={"dispersion": dispersion})
    make_labeler(method).check(WATER_MOLECULE)
    for functional, said in {"SVWN": "no parameters", "wB97X-V": "count twice"}.items():
        unfit = make_labeler(method.model_copy(update={"functional": functional}))
        with pytest.raises(InputError, match=said):
            unfit.check(WATER_MOLECULE)


ORDER = np.array([4, 0, 5, 2, 1, 3])


def request(
    root: Path, *, indices: list[int] | None = None, method: MethodSettings = QUICK, count: int = 4
) -> dict[str, Any]:
    x = WATER + 0.02 * stream(2, "candidates").normal(size=(6, 3, 3))
    candidates = write_part(
        root / "parts", "candidates", "c" * 64,
        structures_to_columns(Structures.from_dense(NUMBERS, x)), {},
    )  # fmt: skip
    order = write_part(root / "parts", "select", "o" * 64, {"order": Column(ORDER)}, {})
    settings = {**method.model_dump(mode="json"), "count": count}
    return Request(
        str(root / "parts"), str(root / "work"), "label", "d" * 64, settings, 3,
        key={"indices": indices} if indices is not None else {},
        inputs={"candidates": [str(candidates.path)], "order": [str(order.path)]},
        work_fingerprint="e" * 64,
    ).to_json()  # fmt: skip


@each_method
def test_labels_are_kept_once_and_merged_whatever_their_grouping(tmp_path: Path, name: str) -> None:
    digests, method = [], METHODS[name]
    for folder, groups in (("ones", [[3], [0], [2], [1]]), ("all", [[0, 1, 2, 3]])):
        root = tmp_path / folder
        for group in groups:
            made = label(request(root, indices=group, method=method))
            assert made["counts"]["labels_done"] == len(group)
        again = label(request(root, indices=[0, 1, 2, 3], method=method))
        assert again["counts"] == {"labels_done": 0, "labels_failed": 0, "labels_skipped": 4}
        digests.append(merge_labels(request(root, method=method))["digest"])
    assert digests[0] == digests[1]
    part = open_part(tmp_path / "all" / "parts" / "label" / ("d" * 64))
    np.testing.assert_array_equal(part.read("candidate", ""), ORDER[:4])
    assert len(part.provenance["spin_squared"]) == 4
    labelled = read_structures(part)
    alone = make_labeler(method).label(NUMBERS, labelled.positions_of(2), 0, 1)
    assert labelled.labelled_energies()[2] == pytest.approx(alone.energy_eV, abs=1e-7)


def test_labels_that_fail_are_left_out_and_said(tmp_path: Path) -> None:
    # A tolerance that nothing meets.
    impossible = QUICK.model_copy(update={"energy_tolerance_Hartree": 1e-300, "max_cycles": 2})
    found = label(request(tmp_path, indices=[0], method=impossible, count=1))
    assert found["counts"]["labels_failed"] == 1
    with pytest.raises(MethodError, match="not_converged"):
        merge_labels(request(tmp_path, method=impossible, count=1))
