"""Laws of failure criteria, over all that are registered; each law has a twin that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apps.dynamics.criteria import Finding, Units, Watched, first_failure, no_atoms
from apps.dynamics.criteria_records import BUILT_IN
from apps.dynamics.criteria_registry import criterion_names, find_criterion
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.lasting import Since, changed, lasted
from apps.dynamics.settings import DynamicsSettings

Judge = Callable[[PhasePoint, Watched, DynamicsSettings], Finding]

# Methanol (C, O, three hydrogens on C, one on O), and a molecule of water apart from it.
NUMBERS = torch.tensor([6, 8, 1, 1, 1, 1, 8, 1, 1])
X = torch.tensor(
    [[0.0, 0, 0], [1.42, 0, 0], [-0.36, 1.03, 0], [-0.36, -0.51, 0.89], [-0.36, -0.51, -0.89],
     [1.74, -0.90, 0], [1.0, -4.0, 0.5], [1.96, -4.0, 0.5], [0.76, -4.93, 0.5]],
    dtype=torch.float64,
)  # fmt: skip
BONDS = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4], [1, 5], [6, 7], [6, 8]])
OTHERS = torch.tensor(
    [[i, j] for i in range(9) for j in range(i + 1, 9) if [i, j] not in BONDS.tolist()]
)
WATCHED = Watched(
    numbers=NUMBERS,
    masses_amu=torch.tensor([12.011, 15.999, *[1.008] * 4, 15.999, 1.008, 1.008]).double(),
    bonds=BONDS,
    bond_lengths_A=torch.linalg.vector_norm(X[BONDS[:, 0]] - X[BONDS[:, 1]], dim=-1),
    others=OTHERS,
    least_distances_A=torch.full((len(OTHERS),), 0.5, dtype=torch.float64),
    hot_eV=2.0,
    temperature_K=300.0,
    molecule_of=torch.tensor([0] * 6 + [1] * 3),
    energy_line_eV=0.0,
    energy_bounds_eV=(-1.0, 1.0),
)
CELL = torch.tensor([[20.0, 0.0, 0.0], [1.0, 21.0, 0.0], [-2.0, 0.5, 22.0]], dtype=torch.float64)
SETTINGS = DynamicsSettings(dissociation_A=4.5)  # less than half of the box below


def moved(atom: int, by: tuple[float, float, float]) -> dict[str, Tensor]:
    x = X.clone()
    x[atom] += torch.tensor(by, dtype=torch.float64)
    return {"positions": x}


def pushed(atom: int, force: float) -> dict[str, Tensor]:
    forces = torch.zeros_like(X)
    forces[atom, 1] = force
    return {"forces": forces}


FLAGGED: dict[str, list[dict[str, Tensor]]] = {
    "not_finite": [
        {"positions": torch.where(X == 1.42, torch.nan, X)},
        {"velocities": torch.where(X == 1.42, torch.inf, 0 * X)},
        {"forces": torch.where(X == 1.42, -torch.inf, 0 * X)},
        {"energies": torch.tensor(torch.nan, dtype=torch.float64)},
    ],
    "bond_stretch": [moved(5, (0.3, -0.8, 0)), moved(1, (0.6, 0, 0)), moved(1, (-0.6, 0, 0))],
    "close_contact": [moved(5, (-2.2, 1.7, 0)), moved(2, (1.9, -1.03, 0))],
    "hot": [{"velocities": 0.05 * X}],
    "large_force": [pushed(3, 101.0), pushed(0, -4e3)],
    "mdsim": [moved(1, (0.55, 0, 0)), moved(1, (-0.55, 0, 0))],
    "stable": [moved(1, (0.55, 0, 0)), moved(1, (-0.55, 0, 0))],
    "stable_training": [moved(1, (0.3, 0, 0)), moved(1, (-0.3, 0, 0))],
    "mlipaudit": [moved(2, (0, 1.6, 0)), {"velocities": 0.2 * X}],
    "fused": [moved(6, (0.74, 2.1, -0.5)), moved(6, (0.42, 5.6, -0.5))],
    "bond_out_of_bounds": [moved(5, (0.6, -0.3, 0)), moved(5, (-0.2, 0.5, 0))],
    "pair_too_close": [moved(6, (0.42, 5.6, -0.5)), moved(6, (0.42, 2.2, -0.5))],
    "valence": [moved(2, (1.9, -1.4, 0)), moved(2, (2.4, -1.8, 0.3))],
    "energy_runaway": [
        {"energies": torch.tensor(energy, dtype=torch.float64)} for energy in (-19.0, 19.0, 1e6)
    ],
    "nve_drift": [
        {"energies": torch.tensor(-3.5, dtype=torch.float64)},
        {"velocities": 0.01 * X},
    ],
    "dissociated": [moved(5, (5.5, 0, 0)), moved(0, (-6.0, 0, 0))],
}
"""Replicas that each criterion must flag."""


def batch(rows: list[dict[str, Tensor]]) -> PhasePoint:
    """Sound replicas, each changed as its row says."""
    sound = {
        "positions": X, "velocities": 0 * X, "forces": 0 * X, "energies": X.new_tensor(-3.0)
    }  # fmt: skip
    return PhasePoint(**{name: torch.stack([{**sound, **r}[name] for r in rows]) for name in sound})


def shaken(point: PhasePoint) -> PhasePoint:
    """With some noise on all, so that no two bonds, atoms or forces are alike."""
    rng = np.random.default_rng(11)
    return PhasePoint(
        **{n: t + torch.from_numpy(rng.normal(0, 1e-3, t.shape)) for n, t in vars(point).items()}
    )


def rows_of(point: PhasePoint, rows: list[int]) -> PhasePoint:
    return PhasePoint(**{name: tensor[rows] for name, tensor in vars(point).items()})


MANY = shaken(batch([{}, *(row for name in FLAGGED for row in FLAGGED[name]), {}, {}]))
EACH = range(len(MANY.energies))


def judged(judge: Judge, point: PhasePoint = MANY, watched: Watched = WATCHED) -> Finding:
    return judge(point, watched, SETTINGS)


def assert_same(one: Finding, other: Finding) -> None:
    """Equal verdicts; equal values and atoms where these mean something."""
    assert one.failed.tolist() == other.failed.tolist()
    told = one.failed & one.value.isfinite()
    torch.testing.assert_close(one.value[told], other.value[told], rtol=1e-9, atol=1e-9)
    one_atoms, other_atoms = (f.atoms[told].sort(dim=1).values.tolist() for f in (one, other))
    assert one_atoms == other_atoms


def rotation(seed: int) -> Tensor:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return torch.from_numpy(q * np.linalg.det(q))


def law_of_rotation(judge: Judge) -> None:
    for seed in range(3):
        turn = rotation(seed)
        turned = {n: getattr(MANY, n) @ turn for n in ("positions", "velocities", "forces")}
        assert_same(judged(judge), judged(judge, replace(MANY, **turned)))


def law_of_translation(judge: Judge) -> None:
    shift = torch.tensor([3.0, -40.0, 0.7], dtype=torch.float64)
    moved_away = replace(MANY, positions=MANY.positions + shift)
    assert_same(judged(judge), judged(judge, moved_away))


def renamed(order: list[int], rng: np.random.Generator) -> tuple[PhasePoint, Watched]:
    """The same atoms in another order; bonds and pairs follow, in an order of their own."""
    place = torch.argsort(torch.tensor(order))
    bonds, others = (rng.permutation(len(pairs)) for pairs in (BONDS, OTHERS))
    fields = {n: getattr(MANY, n)[:, order] for n in ("positions", "velocities", "forces")}
    molecules = WATCHED.molecule_of
    assert molecules is not None
    watched = replace(
        WATCHED,
        numbers=NUMBERS[order],
        masses_amu=WATCHED.masses_amu[order],
        bonds=place[BONDS[bonds].flip(1)],
        bond_lengths_A=WATCHED.bond_lengths_A[bonds],
        others=place[OTHERS[others]],
        least_distances_A=WATCHED.least_distances_A[others],
        molecule_of=molecules[order],
    )
    return replace(MANY, **fields), watched


def law_of_permutation(judge: Judge) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(X)).tolist()
        found = judged(judge, *renamed(order, rng))
        names = torch.tensor([*order, -1])  # the last is the name of "no atom", which is −1
        assert_same(judged(judge), replace(found, atoms=names[found.atoms]))


def _rows(found: Finding, rows: list[int]) -> Finding:
    return Finding(found.failed[rows], found.value[rows], found.atoms[rows])


def law_of_apartness(judge: Judge) -> None:
    together = judged(judge)
    for row in EACH:
        assert_same(_rows(together, [row]), judged(judge, rows_of(MANY, [row])))


def law_of_bad_neighbours(judge: Judge) -> None:
    before = judged(judge)
    for bad in (torch.nan, torch.inf):
        for row in EACH:
            point = PhasePoint(**{name: tensor.clone() for name, tensor in vars(MANY).items()})
            for tensor in vars(point).values():
                tensor[row] = bad
            rest = [r for r in EACH if r != row]
            assert_same(_rows(before, rest), _rows(judged(judge, point), rest))


def law_of_purity(judge: Judge) -> None:
    kept = {name: tensor.clone() for name, tensor in vars(MANY).items()}
    first = judged(judge)
    judged(judge, rows_of(MANY, [7, 0]))
    assert_same(first, judged(judge))
    for name, tensor in vars(MANY).items():
        assert torch.equal(tensor.nan_to_num(), kept[name].nan_to_num())


def law_of_place(judge: Judge) -> None:
    """Tensors without values, as on a device that nobody reads: any look at a value raises."""

    def away(of: Any) -> dict[str, Any]:
        return {n: v.to("meta") if isinstance(v, Tensor) else v for n, v in vars(of).items()}

    for watched in (WATCHED, replace(WATCHED, cell=CELL)):
        try:
            found = judged(judge, PhasePoint(**away(MANY)), Watched(**away(watched)))
        except (RuntimeError, NotImplementedError) as error:
            raise AssertionError("a value was read on the host") from error
        tensors = [found.failed, found.value, found.atoms]
        tensors += vars(found.units).values() if found.units else []
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def law_of_shape(judge: Judge) -> None:
    for rows in ([0], list(EACH)):
        found = judged(judge, rows_of(MANY, rows))
        assert (found.failed.dtype, found.failed.shape) == (torch.bool, (len(rows),))
        assert (found.value.dtype, found.value.shape) == (torch.float64, (len(rows),))
        assert (found.atoms.dtype, found.atoms.shape) == (torch.int64, (len(rows), 2))
        assert -1 <= int(found.atoms.min()) <= int(found.atoms.max()) < len(X)
        assert found.units is None or units_fit(found, found.units, len(rows))


def units_fit(found: Finding, units: Units, rows: int) -> bool:
    """Shapes of units, and that a replica's condition holds where that of one of them does."""
    count = units.holds.shape[1]
    return (
        units.holds.shape == units.values.shape == (rows, count)
        and units.atoms.shape in {(rows, count, 2), (count, 2)}
        and units.holds.any(1).tolist() == found.failed.tolist()
    )


def _by(value: Tensor, failed: Tensor) -> Finding:
    return Finding(failed, value, no_atoms(value))


def along_x(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    value = (point.positions[:, 1] - point.positions[:, 0])[:, 0]
    return _by(value, value > 1.5)


def from_the_origin(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    value = torch.linalg.vector_norm(point.positions, dim=-1).amax(1)
    return _by(value, value > 2.2)


def of_the_first_atom(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    value = torch.linalg.vector_norm(point.forces[:, 0], dim=-1)
    return _by(value, value > 100.0)


def above_the_median(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    value = torch.linalg.vector_norm(point.velocities, dim=-1).amax(1)
    return _by(value, value > 2.0 * value.median())


def read_back(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    value = torch.tensor([float(e) for e in point.energies], dtype=torch.float64)
    return _by(value, value > 0)


def wipes(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    point.energies.nan_to_num_(5.0)
    return _by(point.energies, point.energies > 0)


def in_single_precision(point: PhasePoint, watched: Watched, settings: DynamicsSettings) -> Finding:
    return _by(point.energies.float(), point.energies > 0)


LAWS: dict[str, tuple[Callable[[Judge], None], Judge]] = {
    "rotation": (law_of_rotation, along_x),
    "translation": (law_of_translation, from_the_origin),
    "permutation": (law_of_permutation, of_the_first_atom),
    "apartness": (law_of_apartness, above_the_median),
    "bad neighbours": (law_of_bad_neighbours, above_the_median),
    "purity": (law_of_purity, wipes),
    "place": (law_of_place, read_back),
    "shape": (law_of_shape, in_single_precision),
}
"""Each law, and a function that breaks it."""


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", criterion_names())
def test_laws_hold(name: str, law: str) -> None:
    LAWS[law][0](find_criterion(name).judge())


@pytest.mark.parametrize("law", LAWS)
def test_each_law_sees_who_breaks_it(law: str) -> None:
    holds, breaker = LAWS[law]
    before = {name: tensor.clone() for name, tensor in vars(MANY).items()}
    with pytest.raises(AssertionError):
        holds(breaker)
    for name, tensor in vars(MANY).items():
        tensor.copy_(before[name])


def law_of_images(judge: Judge) -> None:
    """In a box, where each atom may be in an image of its own."""
    boxed = replace(WATCHED, cell=CELL)
    images = torch.from_numpy(np.random.default_rng(2).integers(-2, 3, X.shape)).double()
    spread = replace(MANY, positions=MANY.positions + images @ CELL)
    assert_same(judged(judge, watched=boxed), judged(judge, spread, boxed))
    assert_same(judged(judge), judged(judge, watched=boxed))


@pytest.mark.parametrize("name", BUILT_IN)
def test_images_are_alike(name: str) -> None:
    law_of_images(find_criterion(name).judge())


def test_known_bad_distances_of_other_images_are_seen() -> None:
    with pytest.raises(AssertionError):
        law_of_images(along_x)


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_flags_what_it_must_and_no_sound_replica(name: str) -> None:
    assert verdict(name, batch(FLAGGED[name])).all()
    assert not verdict(name, batch([{}])).any()
    assert not verdict(name, shaken(batch([{}, {}, {}]))).any()


def verdict(name: str, point: PhasePoint) -> Tensor:
    """Who failed, (R,); of a criterion that judges a change, since a sound start."""
    record = find_criterion(name)
    found = judged(record.judge(), point)
    if record.largest_change:
        start = judged(record.judge(), batch([{}])).value.expand(len(point.energies))
        found, _ = changed(found, float(dict(SETTINGS)[record.largest_change]), start)
    return found.failed


LASTING = [name for name in BUILT_IN if find_criterion(name).lasting_under(SETTINGS)]


def failed_at(name: str, row: dict[str, Tensor], held: list[bool]) -> int | None:
    """Check, 5 fs after the one before, at which a replica that is so or sound has failed."""
    settings = DynamicsSettings(criteria=("not_finite", name))
    stride, since = settings.steps_of(settings.check_stride_fs), Since()
    for check, now in enumerate(held):
        point = batch([row if now else {}])
        cause, _, _ = first_failure(point, WATCHED, settings, check * stride, since)
        if int(cause[0]) >= 0:
            return check
    return None


@pytest.mark.parametrize("name", LASTING)
def test_what_must_last_fails_when_it_has_and_not_before(name: str) -> None:
    needed = round(find_criterion(name).lasting_under(SETTINGS) / SETTINGS.check_stride_fs)
    assert needed > 1
    for row in FLAGGED[name]:
        assert failed_at(name, row, [True] * (needed + 1)) == needed
        assert failed_at(name, row, ([True] * needed + [False]) * 3) is None
        broken = [True] * needed + [False] + [True] * (needed + 1)
        assert failed_at(name, row, broken) == 2 * needed + 1


def test_known_bad_counts_without_a_break_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a count that goes on where it was broken off fails what never lasted."""

    def never_broken(
        finding: Finding, steps: int, step: int, since: Tensor | None
    ) -> tuple[Finding, Tensor]:
        found, now = lasted(finding, steps, step, since)
        return found, now if since is None else torch.where(now < 0, since, now)

    monkeypatch.setattr("apps.dynamics.criteria.lasted", never_broken)
    with pytest.raises(AssertionError):
        test_what_must_last_fails_when_it_has_and_not_before("fused")
