r"""Well-tempered metadynamics: the replicas of a block are walkers that share one growing bias.

Barducci, Bussi and Parrinello 2008, doi:10.1103/PhysRevLett.100.020603; several walkers: Raiteri
et al. 2006, doi:10.1021/jp054359r. Every pace each walker adds a Gaussian hill at its place
:math:`s` in the collective variables, of the height

.. math:: w \exp\left(-\frac{V(s)}{k_B \Delta T}\right), \qquad \Delta T = (\gamma - 1)\, T

where :math:`V` is the bias before all hills of that moment. The bias lives on a grid: value and
derivatives at the nodes, cubic (bicubic) Hermite polynomials between, whose derivative is the
force, so that without new hills energy is kept. Hills are not cut off.

Outside of the grid the bias is that of the nearest point of its edge (plus the harmonic wall where
one is asked for), and no hill is laid; those left out are told by `Hills.left_out`. All of this
stays on the device. The energies of a phase point are without bias; its forces are with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from apps.dynamics.collective import added, collective_variables, with_gradients
from apps.dynamics.integrators import ForceFunction
from apps.dynamics.metadynamics_settings import MetadynamicsSettings, Variable
from data_store.units import BOLTZMANN_eV_PER_K

__all__ = ["Bias", "Hills", "bias_at", "biased", "deposit", "no_hills"]


@dataclass(frozen=True)
class Bias:
    """What a block's bias is.

    Parameters
    ----------
    settings : MetadynamicsSettings
    temperature_K : float
    walkers : int
        Replicas that ever were.
    pace_steps : int
    moments : int
        How often hills are laid in the whole run.
    cell : Tensor, shape (3, 3), or None
        Of a periodic box: variables are of nearest images.
    """

    settings: MetadynamicsSettings
    temperature_K: float
    walkers: int
    pace_steps: int
    moments: int
    cell: Tensor | None = None

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The one or two collective variables."""
        return self.settings.variables

    @property
    def tempering_eV(self) -> float:
        """k_B ΔT."""
        return BOLTZMANN_eV_PER_K * self.temperature_K * (self.settings.bias_factor - 1.0)


@dataclass
class Hills:
    """The bias so far, changed in place.

    Parameters
    ----------
    table : Tensor, shape (n, 2) or (n, m, 2, 2)
        At each node the bias in eV (index 0), and its derivatives (1) times the grid's spacing.
    centres : Tensor, shape (moments, walkers, D)
        Where each walker was; not a number where it had failed.
    heights : Tensor, shape (moments, walkers)
        In eV; 0 where none was laid.
    count : int
        Moments that were.
    """

    table: Tensor
    centres: Tensor
    heights: Tensor
    count: int = 0

    def laid(self) -> Hills:
        """Without the room for hills to come."""
        return replace(self, centres=self.centres[: self.count], heights=self.heights[: self.count])

    def with_room(self, moments: int) -> Hills:
        """With room for so many moments in all."""
        centres = self.centres.new_full((moments, *self.centres.shape[1:]), torch.nan)
        heights = self.heights.new_zeros(moments, *self.heights.shape[1:])
        centres[: self.count], heights[: self.count] = self.centres, self.heights
        return replace(self, centres=centres, heights=heights)

    @property
    def left_out(self) -> int:
        """Hills of sound walkers that were outside of the grid."""
        seen = torch.isfinite(self.centres).all(-1)
        return int((seen & (self.heights == 0.0)).sum())


def no_hills(bias: Bias, device: torch.device) -> Hills:
    """Bias at time 0."""
    nodes = [variable.grid_bins + 1 for variable in bias.variables]
    shape = (*nodes, *(2 for _ in nodes))
    nothing = torch.zeros(0, bias.walkers, len(nodes), dtype=torch.float64, device=device)
    table = torch.zeros(shape, dtype=torch.float64, device=device)
    return Hills(table, nothing, nothing[..., 0]).with_room(bias.moments)


def biased(bias: Bias, hills: Hills, force_function: ForceFunction) -> ForceFunction:
    """Energies without and forces with the bias of the moment."""

    def function(positions: Tensor) -> tuple[Tensor, Tensor]:
        energies, forces = force_function(positions)
        values, gradients = with_gradients(positions, bias.variables, bias.cell)
        _, slopes = bias_at(bias, hills.table, values)
        return energies, forces - (slopes[:, :, None, None] * gradients).sum(1)

    return function


def bias_at(bias: Bias, table: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Bias, walls included, in eV (R,), and its derivatives by the variables (R, D).

    Parameters
    ----------
    bias : Bias
    table : Tensor
        See `Hills`.
    values : Tensor, shape (R, D)
        Of the variables.
    """
    columns = list(zip(bias.variables, values.unbind(-1), strict=True))
    beyond = [column - column.clamp(v.grid_lower, v.grid_upper) for v, column in columns]
    wall = torch.stack([0.5 * v.wall * b * b for (v, _), b in zip(columns, beyond, strict=True)])
    pushed = [v.wall * b for (v, _), b in zip(columns, beyond, strict=True)]
    cells, weights, slopes = zip(*(_within(*column) for column in columns), strict=True)
    if len(columns) == 1:
        corners = table[cells[0]]
        inner = added((corners * weights[0]).flatten(1))
        along = [added((corners * slopes[0]).flatten(1))]
    else:
        corners = table[cells[0][:, :, None], cells[1][:, None, :]]
        inner = _bicubic(corners, weights[0], weights[1])
        along = [
            _bicubic(corners, slopes[0], weights[1]),
            _bicubic(corners, weights[0], slopes[1]),
        ]
    return inner + wall.sum(0), torch.stack(along, dim=-1) + torch.stack(pushed, dim=-1)


def _bicubic(corners: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """From corners (R, 2, 2, 2, 2) and weights (R, node, order) of each direction."""
    weights = first[:, :, None, :, None] * second[:, None, :, None, :]
    return added((corners * weights).flatten(1))


def _within(variable: Variable, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of the interval (R, 2), weights of value and slope at them (R, node, order), both."""
    place = (values - variable.grid_lower) / variable.spacing
    inside = (place >= 0.0) & (place <= variable.grid_bins)
    place = place.nan_to_num(0.0).clamp(0.0, variable.grid_bins)
    low = place.floor().clamp(max=variable.grid_bins - 1)
    t, left = place - low, low.long()
    weights = torch.stack(
        [(1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2, t * t * (3 - 2 * t), t * t * (t - 1)], -1
    )
    slopes = torch.stack(
        [6 * t * (t - 1), (3 * t - 1) * (t - 1), 6 * t * (1 - t), t * (3 * t - 2)], -1
    )
    slopes = torch.where(inside[:, None], slopes / variable.spacing, 0.0)
    return torch.stack([left, left + 1], -1), weights.view(-1, 2, 2), slopes.view(-1, 2, 2)


def deposit(
    bias: Bias, hills: Hills, step: int, positions: Tensor, alive: Tensor, sound: Tensor
) -> None:
    """Lay the hills of a step, in place, where it is one at which hills are laid.

    Sums go over all walkers that ever were, in their order, so that who has left the batch leaves
    no trace in their rounding.

    Parameters
    ----------
    bias : Bias
    hills : Hills
    step : int
        Just taken.
    positions : Tensor, shape (R, N, 3)
    alive : Tensor of int64, shape (R,)
        Walkers they belong to.
    sound : Tensor of bool, shape (R,)
        Which of them have not failed at a check yet.
    """
    if step % bias.pace_steps:
        return
    values = collective_variables(positions, bias.variables, bias.cell)
    inside = sound & torch.isfinite(positions).all(-1).all(-1)
    for d, variable in enumerate(bias.variables):
        column = values[:, d]
        inside = inside & (column >= variable.grid_lower) & (column <= variable.grid_upper)
    before = torch.full_like(hills.heights[0], torch.inf)
    before[alive] = torch.where(inside, bias_at(bias, hills.table, values)[0], torch.inf)
    row = hills.count
    hills.centres[row, alive] = torch.where(sound[:, None], values, torch.nan)
    hills.heights[row] = bias.settings.height_eV * torch.exp(-before / bias.tempering_eV)
    hills.table += _of_hills(bias, hills.centres[row], hills.heights[row])
    hills.count += 1


def _of_hills(bias: Bias, centres: Tensor, heights: Tensor) -> Tensor:
    """What hills (W, D) of heights (W,) add to the table."""
    laid = (heights > 0.0)[:, None]
    factors = [
        _factor(variable, torch.where(laid, centres, 0.0)[:, d])
        for d, variable in enumerate(bias.variables)
    ]
    first = factors[0] * heights[:, None, None]
    if len(factors) == 1:
        return first.sum(0)
    # Not by a matrix product: what its order of sums depends on is not ours to say.
    table = first.new_zeros(first.shape[1], factors[1].shape[1], 2, 2)
    for one, other in zip(first, factors[1], strict=True):
        table.addcmul_(one[:, None, :, None], other[None, :, None, :])
    return table


def _factor(variable: Variable, centres: Tensor) -> Tensor:
    """Gaussians and their derivatives times the spacing, at all nodes: (W, nodes, 2)."""
    counted = torch.arange(variable.grid_bins + 1, device=centres.device, dtype=centres.dtype)
    nodes = variable.grid_lower + variable.spacing * counted
    x = (nodes - centres[:, None]) / variable.width
    bell = torch.exp(-0.5 * x * x)
    return torch.stack([bell, -x * bell * (variable.spacing / variable.width)], dim=-1)
