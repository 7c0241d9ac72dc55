"""Laws of collective variables: gradients, symmetries, limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from apps.dynamics.collective import collective_variables, switching, with_gradients
from apps.dynamics.metadynamics_settings import Variable

DISTANCE = {"kind": "distance", "atoms": (0, 3)}
COUNT = {"kind": "coordination", "group_a": (0, 2), "group_b": (1, 3, 4), "r0_A": 1.7}
GRID = {"width": 0.2, "grid_lower": 0.0, "grid_upper": 10.0, "grid_bins": 100}


def variable(*terms: dict[str, Any], **changes: Any) -> Variable:
    return Variable.model_validate({**GRID, "terms": terms, **changes})


VARIABLES = {
    "distance": variable(DISTANCE),
    "difference": variable(DISTANCE, {"kind": "distance", "atoms": (1, 2), "coefficient": -1.0}),
    "count": variable(COUNT),
    "count 8/14": variable({**COUNT, "n": 8, "m": 14}),
    "weighed counts": variable(COUNT, {**COUNT, "r0_A": 2.3, "coefficient": -0.5}),
}
EVERY = pytest.mark.parametrize("name", VARIABLES)


def places(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.rand(6, 5, 3, generator=generator, dtype=torch.float64)


def turned(x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    found: Tensor = x @ rotation.T
    return found


@EVERY
@pytest.mark.parametrize("periodic", [False, True])
def test_the_gradient_is_the_slope(name: str, periodic: bool) -> None:
    cell = 20.0 * torch.eye(3, dtype=torch.float64) if periodic else None
    given, x, step = (VARIABLES[name],), places(), 1e-5
    _, gradients = with_gradients(x, given, cell)
    found = torch.zeros_like(gradients[:, 0])
    for place in range(x[0].numel()):
        moved = torch.zeros(x[0].numel(), dtype=torch.float64)
        moved[place] = step
        by = moved.view(5, 3)
        rise = collective_variables(x + by, given, cell) - collective_variables(x - by, given, cell)
        found.view(len(x), -1)[:, place] = rise[:, 0] / (2 * step)
    torch.testing.assert_close(gradients[:, 0], found, atol=1e-8, rtol=1e-6)


@EVERY
def test_place_and_direction_leave_no_trace(name: str) -> None:
    x, given = places(), (VARIABLES[name],)
    before = collective_variables(x, given)
    torch.testing.assert_close(collective_variables(turned(x) + 7.0, given), before)


def test_counts_do_not_know_which_atom_of_a_group_is_which() -> None:
    x = places()
    given = (VARIABLES["count"], VARIABLES["count 8/14"])
    swapped = x[:, [2, 4, 0, 1, 3]]
    torch.testing.assert_close(collective_variables(swapped, given), collective_variables(x, given))
    other = collective_variables(x[:, [1, 0, 2, 3, 4]], given)
    assert not torch.allclose(other, collective_variables(x, given)), "groups differ"


@EVERY
def test_nearest_images_are_those_that_count(name: str) -> None:
    """Whole edges added to any atom change nothing; far from the walls neither does the box."""
    given, edges = (VARIABLES[name],), torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64)
    cell, x = torch.diag(edges), places()
    generator = torch.Generator().manual_seed(3)
    whole = torch.randint(-2, 3, x.shape, generator=generator).double() * edges
    before = collective_variables(x, given)
    torch.testing.assert_close(collective_variables(x + whole, given, cell), before)
    assert not torch.allclose(collective_variables(x + whole, given), before)


@pytest.mark.parametrize(("n", "m"), [(6, 12), (8, 14), (1, 2), (3, 4), (9, 15)])
def test_switching_has_its_limits_and_no_hole(n: int, m: int) -> None:
    r = torch.cat([torch.linspace(0.0, 30.0, 3001), torch.tensor([1.5, 1.5 + 1e-9, 1.5 - 1e-9])])
    r = r.double().requires_grad_(True)
    s = switching(r, 1.5, n, m)
    (slope,) = torch.autograd.grad(s.sum(), r)
    assert torch.isfinite(s).all()
    assert torch.isfinite(slope).all()
    s = s.detach()
    assert float(s[0]) == 1.0
    torch.testing.assert_close(s[-3:], torch.full((3,), n / m, dtype=torch.float64))
    at_r0 = n * (n - m) / (2 * m) / 1.5
    torch.testing.assert_close(slope[-3:], torch.full((3,), at_r0, dtype=torch.float64))
    assert bool((s[1:3001] <= s[:3000]).all())
    torch.testing.assert_close(s[3000], torch.tensor(20.0).double() ** (n - m), rtol=0.06, atol=0)
    x = r.detach()[[40, 100, 400]] / 1.5
    torch.testing.assert_close(s[[40, 100, 400]], (1 - x**n) / (1 - x**m))


@pytest.mark.parametrize(
    ("terms", "changes", "message"),
    [
        ([DISTANCE, COUNT], {}, "of one kind"),
        ([{**DISTANCE, "atoms": (2, 2)}], {}, "two different"),
        ([{**COUNT, "group_b": (2, 3)}], {}, "each atom once"),
        ([{**COUNT, "n": 12, "m": 12}], {}, "less than m"),
        ([DISTANCE], {"grid_upper": -1.0}, "below grid_upper"),
        ([DISTANCE], {"grid_bins": 50}, "take 100 or more"),
        ([{**DISTANCE, "atom": 1}], {}, "Extra inputs"),
        ([{**DISTANCE, "kind": "angle"}], {}, "'distance', 'coordination'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    terms: list[Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        variable(*terms, **({"grid_bins": 101} | changes))
