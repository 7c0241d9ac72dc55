"""Reactive dynamics through real parts: what flies apart is censored, energies have bounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.contract import Request
from campaign.statistics.rates import exposure_ps, failed_fraction
from campaign.statistics.survival import kaplan_meier
from data_store.errors import InputError, StoreError
from data_store.molecules import Molecule
from data_store.parts import open_part, write_part
from data_store.runs import Run, runs_from_part, runs_to_columns
from data_store.structure_parts import structures_to_columns
from data_store.structures import Structures
from tests.integration.test_simulate import (
    NUMBERS,
    REPLICAS,
    WATER,
    finished,
    frames,
    parts,
    request,
    runs_of,
)

__all__ = ["parts"]

FAR = 2


def with_starts(tmp_path: Path, parts: dict[str, str], starts: np.ndarray) -> dict[str, str]:
    columns = structures_to_columns(Structures.from_dense(NUMBERS, starts))
    made = write_part(tmp_path / "parts", "starts", "far", columns, {})
    return {**parts, "starts": str(made.path)}


def with_energies(tmp_path: Path, parts: dict[str, str], energies: np.ndarray) -> dict[str, str]:
    found = frames(len(energies), 1)
    labels = found.with_labels(energies, np.zeros_like(found.positions))
    made = write_part(tmp_path / "parts", "label", "e", structures_to_columns(labels), {})
    return {**parts, "labels": str(made.path)}


def test_what_has_flown_apart_is_censored_and_no_failure(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    starts = np.tile(WATER.reference_positions, (REPLICAS, 1, 1))
    starts[FAR, 2] += 30.0
    result = finished(
        request(
            tmp_path, with_starts(tmp_path, parts, starts), criteria=("not_finite", "dissociated")
        )
    )
    runs = runs_of(result)
    assert (runs[FAR].outcome, runs[FAR].cause, runs[FAR].time_ps) == (
        "censored", "dissociated", 0.0,
    )  # fmt: skip
    assert 29.0 < runs[FAR].value < 53.0
    assert {run.outcome for run in runs if run.replica != FAR} == {"survived"}
    assert result["counts"]["failures"] == 0
    assert result["counts"]["censored"] == 1


def test_energies_beyond_those_of_labels_fail(tmp_path: Path, parts: dict[str, str]) -> None:
    def causes(energies: np.ndarray, fingerprint: str) -> list[str]:
        what = request(
            tmp_path, with_energies(tmp_path / fingerprint[0], parts, energies), fingerprint,
            criteria=("not_finite", "energy_runaway"), length_ps=0.025,
        )  # fmt: skip
        return [run.cause for run in runs_of(finished(what))]

    plain = request(tmp_path, parts, criteria=("not_finite",), length_ps=0.025)
    part = open_part(Path(finished(plain)["path"]))
    visited = part.read("saved_potential_energy", "eV")
    near = np.linspace(visited.min(), visited.max(), 8)
    assert causes(near, "a" * 64) == [""] * REPLICAS
    assert causes(near + 50.0, "b" * 64) == ["energy_runaway"] * REPLICAS
    assert causes(near - 50.0, "c" * 64) == ["energy_runaway"] * REPLICAS


def test_censored_runs_keep_their_reason_and_stay_in_the_denominator(tmp_path: Path) -> None:
    runs = [
        Run(0, 0, "survived", 2.0),
        Run(1, 1, "censored", 0.5, "dissociated", (), 16.0),
        Run(2, 2, "failed", 1.0, "valence", (1,), 2.0),
        Run(3, 3, "censored", 1.5),
    ]
    columns, coded = runs_to_columns(runs)
    back = runs_from_part(write_part(tmp_path, "simulate", "a" * 64, columns, coded))
    assert [(r.outcome, r.cause) for r in back] == [(r.outcome, r.cause) for r in runs]
    assert exposure_ps(back) == 5.0
    assert failed_fraction(1, len(back)).value == 0.25
    curve = kaplan_meier(back)  # one of the three still watched at 1 ps failed
    assert curve.survival[-1] == pytest.approx(2.0 / 3.0)
    with pytest.raises(StoreError):
        Run(0, 0, "survived", 2.0, "dissociated")
    with pytest.raises(StoreError):
        Run(0, 0, "failed", 2.0)


def test_labels_without_energies_cannot_bound_them(tmp_path: Path, parts: dict[str, str]) -> None:
    what = request(tmp_path, parts, criteria=("not_finite", "energy_runaway"))
    with pytest.raises((InputError, StoreError), match="no energies"):
        finished(what)


def with_two_molecules(tmp_path: Path, what: Request) -> Request:
    hydrogen = Molecule(
        "hydrogen", (1, 1), ((0, 1),), (1,), (0, 0), 1, np.array([[0.0, 0, 0], [0.74, 0, 0]])
    )
    made = write_part(tmp_path / "parts", "prepare", "h", {}, {"molecule": hydrogen.to_json()})
    both = [*what.inputs["molecule"], str(made.path)]
    return replace(what, inputs={**what.inputs, "molecule": both})


def test_clusters_of_a_mixture_react_without_a_box(tmp_path: Path, parts: dict[str, str]) -> None:
    """Starts need be no molecule that was prepared: here OH and H."""
    starts = np.tile(WATER.reference_positions, (REPLICAS, 1, 1))
    starts[:, 2] += [2.0, 0.0, 0.0]
    placed = with_starts(tmp_path, parts, starts)
    criteria = ("not_finite", "close_contact", "valence", "dissociated")
    what = request(tmp_path, placed, criteria=criteria)
    runs = runs_of(finished(with_two_molecules(tmp_path, what)))
    assert len(runs) == REPLICAS
    bonds = request(tmp_path, placed, "b" * 64, criteria=("not_finite", "bond_stretch"))
    with pytest.raises(InputError, match="give the starts a box, or one molecule"):
        finished(with_two_molecules(tmp_path, bonds))


def test_bonds_that_break_and_form_are_contacts_like_others(
    tmp_path: Path, parts: dict[str, str]
) -> None:
    starts = np.tile(WATER.reference_positions, (REPLICAS, 1, 1))
    starts[FAR, 1] *= 0.45  # of a bond, which is no contact elsewhere
    placed = with_starts(tmp_path, parts, starts)

    def cause(fingerprint: str, *criteria: str) -> str:
        what = request(tmp_path, placed, fingerprint, criteria=("not_finite", *criteria))
        return runs_of(finished(what))[FAR].cause

    assert cause("a" * 64, "close_contact", "valence") == "close_contact"
    assert cause("b" * 64, "close_contact") == ""
