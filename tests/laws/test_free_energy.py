"""A double well whose free energy is known: the estimates find it within their errors.

Two atoms in a potential of their distance r, which has two minima: the free energy along r is that
potential less 2 k_B T ln r, for shells grow with r.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from torch import Tensor

from apps.dynamics.engine import Block
from apps.dynamics.hill_columns import hill_columns
from campaign.statistics.free_energy import (
    Hills,
    Profile,
    bias_of_hills,
    offsets_eV,
    profile_of_bias,
    reweighted_profile,
)
from data_store.units import BOLTZMANN_eV_PER_K
from tests.laws.dynamics_systems import make_block, run

WALKERS, LENGTH_PS, TEMPERATURE_K = 32, 40.0, 300.0
BARRIER_eV, MIDDLE_A, HALF_A = 0.2, 2.6, 0.4
METADYNAMICS: dict[str, Any] = {
    "height_eV": 0.001,
    "pace_fs": 40.0,
    "bias_factor": 8.0,
    "variables": [
        {
            "width": 0.08,
            "grid_lower": 1.6,
            "grid_upper": 3.6,
            "grid_bins": 100,
            "wall": 50.0,
            "terms": [{"kind": "distance", "atoms": [0, 1]}],
        }
    ],
}
NODES = np.linspace(1.6, 3.6, 101)
EDGES = np.linspace(1.9, 3.3, 15)
LEFT, TOP, RIGHT = slice(2, 4), slice(6, 8), slice(9, 12)
"""Bins of the wells and of what is between them."""


def potential(r: Any) -> Any:
    """Two wells, 10 k_B T high and not of one depth, in eV."""
    q = (r - MIDDLE_A) / HALF_A
    return BARRIER_eV * ((q * q - 1.0) ** 2 + 0.2 * q)


def double_well(x: Tensor) -> tuple[Tensor, Tensor]:
    apart = x[:, 1] - x[:, 0]
    r = torch.linalg.vector_norm(apart, dim=-1)
    q = (r - MIDDLE_A) / HALF_A
    slope = BARRIER_eV * (4.0 * q * (q * q - 1.0) + 0.2) / HALF_A
    pull = (slope / r)[:, None] * apart
    return potential(r), torch.stack([pull, -pull], dim=1)


def block(**changes: Any) -> Block:
    return make_block(
        double_well, replicas=WALKERS, temperature_K=TEMPERATURE_K, masses=torch.full((2,), 16.0),
        **{
            "timestep_fs": 2.0, "length_ps": LENGTH_PS, "friction_per_ps": 5.0,
            "check_stride_fs": 2000.0, "save_stride_ps": LENGTH_PS, "keep_stride_fs": 1000.0,
            "compact_every_steps": 1000, "stretch_A": 50.0, "metadynamics": METADYNAMICS, **changes,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def hills() -> Hills:
    """Of 32 walkers that start in the left well."""
    made = block()
    start = torch.tensor([[0.0, 0.0, 0.0], [2.2, 0.0, 0.0]], dtype=torch.float64)
    state = run(made, start)
    assert made.bias is not None
    assert state.hills is not None
    assert not state.failures
    columns = hill_columns(made.bias, state.hills, 2.0)
    found = Hills(
        columns["hill_time"].values,
        columns["hill_walker"].values,
        columns["hill_centre_0"].values[:, None],
        columns["hill_height"].values,
        (0.08,),
        METADYNAMICS["height_eV"],
        METADYNAMICS["bias_factor"],
        TEMPERATURE_K,
    )
    rebuilt = bias_of_hills(found, [NODES])
    np.testing.assert_allclose(rebuilt, columns["bias"].values, rtol=1e-9, atol=1e-12)
    return found


def exact_profile(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Free energy of each bin in eV; its mean, weighted by probability, is 0."""
    kT = BOLTZMANN_eV_PER_K * TEMPERATURE_K
    r = np.linspace(edges[:-1], edges[1:], 401)
    shares = np.trapezoid(r * r * np.exp(-potential(r) / kT), r, axis=0)
    found = -kT * np.log(shares / np.diff(edges))
    return np.asarray(found - np.average(found, weights=shares))


def contrasts(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of the barrier, and depth of the right well, both from the left one."""
    left, top, right = (profiles[..., bins].mean(-1) for bins in (LEFT, TOP, RIGHT))
    return np.stack([top - left, right - left], axis=-1)


def p_of(profile: Profile) -> float:
    """Hotelling's test that both contrasts are the exact ones, walkers being the blocks."""
    count = len(profile.without_walker_eV)
    whole, without = contrasts(profile.free_energy_eV), contrasts(profile.without_walker_eV)
    pseudo = count * whole - (count - 1) * without
    apart = whole - contrasts(exact_profile(profile.edges))
    squared = count * apart @ np.linalg.solve(np.cov(pseudo.T), apart)
    return float(f_distribution.sf(squared * (count - 2) / (2 * (count - 1)), 2, count - 2))


def profile_of(hills: Hills) -> Profile:
    return reweighted_profile(hills, [NODES], EDGES, after_ps=LENGTH_PS / 4)


def test_the_reweighted_profile_is_the_exact_one_within_its_errors(hills: Hills) -> None:
    found = profile_of(hills)
    assert p_of(found) > 1e-3
    scores = (found.free_energy_eV - exact_profile(EDGES)) / found.error_eV
    assert float((scores**2).mean()) < 5.0
    assert float(found.error_eV.max()) < 0.2 * hills.kT_eV, "errors are small against a barrier"


@pytest.mark.parametrize("wrong", [6.0, 11.0])
def test_known_bad_a_wrong_bias_factor_fails_the_same_test(hills: Hills, wrong: float) -> None:
    assert p_of(profile_of(replace(hills, bias_factor=wrong))) < 1e-3


def test_known_bad_unweighted_samples_fail_the_same_test(hills: Hills) -> None:
    flat = replace(hills, heights_eV=np.full_like(hills.heights_eV, hills.height_eV))
    assert p_of(profile_of(flat)) < 1e-9


def error_of_bias_profile(hills: Hills) -> float:
    """Spread of its distance from the exact one where that is below 1.6 barriers, in k_B T."""
    exact = potential(NODES) - 2.0 * hills.kT_eV * np.log(NODES)
    low = exact - exact.min() < 1.6 * BARRIER_eV
    apart = profile_of_bias(hills, [NODES]) - exact
    return float(apart[low].std() / hills.kT_eV)


def test_the_profile_of_the_bias_is_the_exact_one_but_for_the_width_of_hills(hills: Hills) -> None:
    assert error_of_bias_profile(hills) < 0.4
    assert error_of_bias_profile(replace(hills, bias_factor=4.0)) > 0.4


def test_offsets_begin_at_zero_and_grow(hills: Hills) -> None:
    offsets = offsets_eV(hills, [NODES])
    moments, first = np.unique(hills.times_ps, return_index=True)
    assert offsets[first[0]] == 0.0
    assert (np.diff(offsets[first]) > 0.0).all()
    assert len(moments) == round(LENGTH_PS * 1000 / METADYNAMICS["pace_fs"])


def synthetic(count: int, walkers: int, variables: int = 1) -> Hills:
    """Hills of no height to speak of: samples of a normal distribution, weighted alike."""
    rng = np.random.default_rng(4)
    centres = rng.normal(0.0, 1.0, (count, variables))
    return Hills(
        np.repeat(np.arange(count // walkers) + 1.0, walkers), np.arange(count) % walkers,
        centres, np.full(count, 1e-30), (0.1,) * variables, 1e-30, 5.0, TEMPERATURE_K,
    )  # fmt: skip


@pytest.mark.parametrize("variables", [1, 2])
def test_without_a_bias_it_is_the_histogram(variables: int) -> None:
    hills, edges = synthetic(8000, 16, variables), np.linspace(-1.5, 1.5, 7)
    grid = [np.linspace(-3.0, 3.0, 21)] * variables
    found = reweighted_profile(hills, grid, edges, variables - 1)
    counts, _ = np.histogram(hills.centres[:, variables - 1], edges)
    expected = -hills.kT_eV * np.log(counts)
    differences = found.free_energy_eV - expected
    np.testing.assert_allclose(differences, differences[0], atol=1e-12)
    poisson = hills.kT_eV / np.sqrt(counts)
    assert (found.error_eV < 2.5 * poisson).all()


def test_what_nobody_saw_has_no_value() -> None:
    hills, edges = synthetic(160, 16), np.array([-9.0, -8.0, 0.0, 8.0])
    found = reweighted_profile(hills, [np.linspace(-9.0, 9.0, 5)], edges)
    assert np.isnan(found.free_energy_eV[0])
    assert np.isfinite(found.free_energy_eV[1:]).all()
    none = reweighted_profile(hills, [np.linspace(-9.0, 9.0, 5)], edges, after_ps=1e9)
    assert np.isnan(none.free_energy_eV).all()
    assert np.isnan(none.error_eV).all()
