r"""PaiNN: polarizable atom interaction network (Schütt et al. 2021, arXiv:2102.03150).

Each atom carries scalars :math:`s` (F) and vectors :math:`v` (3 × F). A message sums over
neighbours

.. math::
    \Delta s_i &= \sum_j \phi_s(s_j) \circ W_s(r_{ij}) \\
    \Delta v_i &= \sum_j v_j \circ \phi_{vv}(s_j) \circ W_{vv}(r_{ij})
                 + \hat r_{ij} \otimes \phi_{vs}(s_j) \circ W_{vs}(r_{ij})

with filters :math:`W(r)` linear in Bessel functions; an update mixes the features of one atom. The
energy is a sum of atomic readouts, invariant by construction; forces come by differentiation.

The filter is linear in the radial functions :math:`R_{ijk}`, so that for molecules the sum over
neighbours and radial functions is one matrix product,
:math:`\sum_{jk} R_{ijk} (W_{kf} \phi_{jf})`, and tensors of N² × F numbers never exist. In the
first layer :math:`\phi_j` belongs to the neighbour's element, so that neighbours of an element are
summed first and the product is one over elements. Blocks of features are taken apart by `split`,
whose gradient is one concatenation; slices would each have one of zeros, to be added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from apps.potential.batch import AnyBatch, DenseBatch, GraphBatch, PairBatch, TableBatch
from apps.potential.native.operators import element_sums, pair_sums
from apps.potential.protocol import Potential
from apps.potential.radial import bessel
from apps.potential.tables import gathered, numbers_of_neighbours, pair_vectors

__all__ = ["SIZES", "PaiNN"]


@dataclass(frozen=True)
class Size:
    """Features per atom, message layers, radial functions."""

    features: int
    layers: int
    radial: int


SIZES = {"small": Size(48, 2, 8), "medium": Size(64, 3, 8), "large": Size(128, 3, 16)}

_NORM_FLOOR = 1e-4
"""Added under the root of a vector's norm, which keeps it smooth where the vector vanishes."""


class _ByElement(NamedTuple):
    """Sums of a centre's pairs over neighbours of an element, (B, N, S·K) and (B, N·3, S·K)."""

    radial: Tensor
    directed: Tensor


class _Dense(NamedTuple):
    """Radial functions of all pairs, alone and times the unit vector to the neighbour.

    ``radial`` (B, N, N·K) and ``directed`` (B, N·3, N·K): centres first, neighbours and radial
    functions last.
    """

    radial: Tensor
    directed: Tensor
    by_element: _ByElement


class _Tabled(NamedTuple):
    """Radial functions (B, N, P, K) and unit vectors (B, N, P, 3) of P places at each atom."""

    radial: Tensor
    unit: Tensor
    by_element: _ByElement
    batch: TableBatch


class _Once(NamedTuple):
    """Pairs listed once, whose sums are made elsewhere."""

    batch: PairBatch
    by_element: _ByElement
    cutoff_A: float


class _Listed(NamedTuple):
    """Radial functions (P, K), unit vectors (P, 3), centres and neighbours (2, P) of P pairs."""

    radial: Tensor
    unit: Tensor
    ends: Tensor


_Pairs = _Dense | _Tabled | _Once | _Listed


class _Message(nn.Module):
    """Sum over neighbours; the first one of a network has no vectors to pass on."""

    def __init__(self, size: Size, *, first: bool) -> None:
        super().__init__()
        width = size.features
        self.blocks = 2 if first else 3
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, self.blocks * width)
        self.filter = nn.Parameter(torch.empty(size.radial, self.blocks * width))
        nn.init.xavier_uniform_(self.filter)

    def forward(self, s: Tensor, v: Tensor | None, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """Changes of scalars (…, F) and vectors (…, 3, F)."""
        phi = self.outer(silu(self.inner(s)))
        if isinstance(pairs, _Dense):
            return self._dense(phi, v, pairs)
        if isinstance(pairs, _Tabled):
            return self._tabled(phi, v, pairs)
        if isinstance(pairs, _Once):
            return self._once(phi, v, pairs)
        return self._listed(phi, v, pairs)

    def of_elements(self, table: Tensor, sums: _ByElement) -> tuple[Tensor, Tensor]:
        """The same where an atom's features are its element's row of a table (S, F)."""
        batch, atoms, width = sums.radial.shape[0], sums.radial.shape[1], table.shape[1]
        phi = self.outer(silu(self.inner(table)))
        w_s, w_vs = _filtered(phi.unsqueeze(0), self.filter).squeeze(0).split(width, dim=-1)
        return sums.radial @ w_s, (sums.directed @ w_vs).view(batch, atoms, 3, width)

    def _dense(self, phi: Tensor, v: Tensor | None, pairs: _Dense) -> tuple[Tensor, Tensor]:
        batch, atoms, width = phi.shape[0], phi.shape[1], phi.shape[2] // self.blocks
        w_s, w_vs, *w_vv = self.filter.split(width, dim=-1)
        phi_s, phi_vs, *phi_vv = phi.split(width, dim=-1)
        dv = torch.bmm(pairs.directed, _filtered(phi_vs, w_vs)).view(batch, atoms, 3, width)
        if v is None:
            return torch.bmm(pairs.radial, _filtered(phi_s, w_s)), dv
        moved = (v * phi_vv[0].unsqueeze(-2)).view(batch, atoms, 3 * width)
        carried = torch.cat([phi_s, moved], dim=-1)
        filters = torch.cat([w_s, *(3 * w_vv)], dim=-1)
        found = torch.bmm(pairs.radial, _filtered(carried, filters))
        ds, turned = found.split([width, 3 * width], dim=-1)
        return ds, dv + turned.view(batch, atoms, 3, width)

    def _tabled(self, phi: Tensor, v: Tensor | None, pairs: _Tabled) -> tuple[Tensor, Tensor]:
        batch, atoms, width = phi.shape[0], phi.shape[1], phi.shape[2] // self.blocks
        w_s, w_vs, *w_vv = (pairs.radial @ self.filter).split(width, dim=-1)
        phi_s, phi_vs, *phi_vv = phi.split(width, dim=-1)
        carried = [phi_s, phi_vs]
        if v is not None:
            carried.append((v * phi_vv[0].unsqueeze(-2)).view(batch, atoms, 3 * width))
        found = gathered(torch.cat(carried, dim=-1), pairs.batch.neighbours, pairs.batch.reverse)
        s, vs, *moved = found.split([block.shape[-1] for block in carried], dim=-1)
        vectors = pairs.unit.unsqueeze(-1) * (vs * w_vs).unsqueeze(-2)
        if v is not None:
            turned = moved[0].view(*moved[0].shape[:-1], 3, width)
            vectors = vectors + turned * w_vv[0].unsqueeze(-2)
        return (s * w_s).sum(2), vectors.sum(2)

    def _once(self, phi: Tensor, v: Tensor | None, pairs: _Once) -> tuple[Tensor, Tensor]:
        assert v is not None  # the first layer has sums by element
        batch, atoms, width = phi.shape[0], phi.shape[1], phi.shape[2] // self.blocks
        phi_s, phi_vs, phi_vv = phi.split(width, dim=-1)
        moved = (v * phi_vv.unsqueeze(-2)).view(batch, atoms, 3 * width)
        carried = torch.cat([phi_s, phi_vs, moved], dim=-1)
        found = pair_sums(carried, pairs.batch, self.filter, pairs.cutoff_A)
        ds, dv = found.split([width, 3 * width], dim=-1)
        return ds, dv.view(batch, atoms, 3, width)

    def _listed(self, phi: Tensor, v: Tensor | None, pairs: _Listed) -> tuple[Tensor, Tensor]:
        centre, neighbour = pairs.ends
        width = phi.shape[-1] // self.blocks
        message = phi[neighbour] * (pairs.radial @ self.filter)
        to_s, to_vs, *to_vv = message.split(width, dim=-1)
        ds = phi.new_zeros(phi.shape[0], width).index_add(0, centre, to_s)
        vectors = pairs.unit.unsqueeze(-1) * to_vs.unsqueeze(1)
        if v is not None:
            vectors = vectors + v[neighbour] * to_vv[0].unsqueeze(1)
        dv = phi.new_zeros(phi.shape[0], 3, width).index_add(0, centre, vectors)
        return ds, dv


def _filtered(features: Tensor, filters: Tensor) -> Tensor:
    """Features of neighbours by radial function: (B, N, F) and (K, F) to (B, N·K, F)."""
    return (features.unsqueeze(2) * filters).flatten(1, 2)


class _Update(nn.Module):
    """Mix the scalars and vectors of one atom."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.features
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.inner = nn.Linear(2 * width, width)
        self.outer = nn.Linear(width, 3 * width)

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Changes of scalars and vectors."""
        left, right = self.mix(v).chunk(2, dim=-1)
        norm = torch.sqrt((right * right).sum(-2) + _NORM_FLOOR)
        gates = self.outer(silu(self.inner(torch.cat([s, norm], dim=-1))))
        a_ss, a_sv, a_vv = gates.chunk(3, dim=-1)
        return a_ss + a_sv * (left * right).sum(-2), a_vv.unsqueeze(-2) * left


class PaiNN(Potential):
    """The built-in architecture.

    Parameters
    ----------
    size : {"small", "medium", "large"}
    species : sequence of int
    cutoff_A : float
    """

    traceable = tables = True

    def __init__(self, size: str, species: Sequence[int], cutoff_A: float) -> None:
        super().__init__("painn", size, species, cutoff_A)
        shape = SIZES[size]
        self.radial = shape.radial
        self.embedding = nn.Embedding(len(self.species), shape.features)
        self.messages = nn.ModuleList(
            _Message(shape, first=layer == 0) for layer in range(shape.layers)
        )
        self.updates = nn.ModuleList(_Update(shape) for _ in range(shape.layers))
        self.readout_inner = nn.Linear(shape.features, shape.features // 2)
        self.readout = nn.Linear(shape.features // 2, 1)

    def network_energy(self, batch: AnyBatch) -> Tensor:
        """See `Potential.network_energy`."""
        atomic = self._atomic_energies(batch.numbers, self._pairs(batch))
        if not isinstance(batch, GraphBatch):
            return self.scale * (atomic * (batch.numbers > 0)).sum(-1)
        total = atomic.new_zeros(batch.n_structures)
        return self.scale * total.index_add(0, batch.structure, atomic)

    def energy_features(self, batch: AnyBatch) -> Tensor:
        """See `Potential.energy_features`; half as many as the network's features."""
        atomic = self._readout_features(batch.numbers, self._pairs(batch))
        if not isinstance(batch, GraphBatch):
            return (atomic * (batch.numbers > 0).unsqueeze(-1)).sum(-2)
        total = atomic.new_zeros(batch.n_structures, atomic.shape[-1])
        return total.index_add(0, batch.structure, atomic)

    def _atomic_energies(self, numbers: Tensor, pairs: _Pairs) -> Tensor:
        atomic: Tensor = self.readout(self._readout_features(numbers, pairs)).squeeze(-1)
        return atomic

    def _readout_features(self, numbers: Tensor, pairs: _Pairs) -> Tensor:
        """Of each atom, what its energy is linear in."""
        s, v = self.embedding(self.species_index[numbers]), None
        for message, update in zip(self.messages, self.updates, strict=True):
            if v is None and not isinstance(pairs, _Listed):
                first = cast(_Message, message)
                ds, dv = first.of_elements(self.embedding.weight, pairs.by_element)
            else:
                ds, dv = message(s, v, pairs)
            s, v = s + ds, dv if v is None else v + dv
            ds, dv = update(s, v)
            s, v = s + ds, v + dv
        return silu(self.readout_inner(s))

    def _pairs(self, batch: AnyBatch) -> _Pairs:
        if isinstance(batch, DenseBatch):
            return self._dense(batch)
        if isinstance(batch, TableBatch):
            return self._tabled(batch)
        if isinstance(batch, PairBatch):
            return self._once(batch)
        return self._listed(batch)

    def _dense(self, batch: DenseBatch) -> _Dense:
        x, real = batch.positions, batch.numbers > 0
        atoms = batch.numbers.shape[1]
        # Differences in the positions' own precision, the network in its own.
        vectors = (x.unsqueeze(1) - x.unsqueeze(2)).to(self.dtype)
        valid = real.unsqueeze(1) & real.unsqueeze(2)
        valid = valid & ~torch.eye(atoms, dtype=torch.bool, device=x.device)
        # Where there is no pair, a distance at the cutoff: nothing enters, no root of zero.
        squared = (vectors * vectors).sum(-1).masked_fill(~valid, self.cutoff_A**2)
        distances = torch.sqrt(squared)
        radial = bessel(distances, self.cutoff_A, self.radial)  # (B, N, N, K)
        unit = (vectors / distances.unsqueeze(-1)).transpose(2, 3)  # (B, N, 3, N)
        directed = unit.unsqueeze(-1) * radial.unsqueeze(2)
        return _Dense(
            radial.flatten(2),
            directed.flatten(3).flatten(1, 2),
            self._by_element(batch.numbers, radial, directed),
        )

    def _by_element(self, numbers: Tensor, radial: Tensor, directed: Tensor) -> _ByElement:
        """Sums over neighbours of one element, for each element of the embedding.

        The pairs' other ends are summed over, which is one product with contiguous rows: the radial
        functions of a pair are those of its reverse, and its unit vector is minus that.
        """
        batch, atoms, _, count = radial.shape
        member = self._member(numbers).to(radial.dtype)  # (B, S, N)
        sums = torch.bmm(member, radial.flatten(2)).view(batch, -1, atoms, count)
        turned = torch.bmm(member, directed.flatten(2)).view(batch, -1, 3, atoms, count)
        return _ByElement(
            sums.transpose(1, 2).flatten(2),
            -turned.permute(0, 3, 2, 1, 4).flatten(3).flatten(1, 2),
        )

    def _member(self, numbers: Tensor) -> Tensor:
        """Whether atoms (…, N) are of each element: (…, S, N)."""
        elements = torch.arange(len(self.species), device=numbers.device)
        return self.species_index[numbers].unsqueeze(-2) == elements.unsqueeze(-1)

    def _tabled(self, batch: TableBatch) -> _Tabled:
        vectors = pair_vectors(batch, self.dtype)
        squared = (vectors * vectors).sum(-1).masked_fill(~batch.used, self.cutoff_A**2)
        distances = torch.sqrt(squared)
        radial = bessel(distances, self.cutoff_A, self.radial)  # (B, N, P, K)
        unit = vectors / distances.unsqueeze(-1)
        rows, atoms, _, count = radial.shape
        directed = unit.unsqueeze(-1) * radial.unsqueeze(-2)  # (B, N, P, 3, K)
        member = self._member(numbers_of_neighbours(batch)).to(radial.dtype)  # (B, N, S, P)
        sums = (member @ radial).flatten(2)
        turned = (member @ directed.flatten(3)).view(rows, atoms, -1, 3, count)
        by_element = _ByElement(sums, turned.transpose(2, 3).flatten(3).flatten(1, 2))
        return _Tabled(radial, unit, by_element, batch)

    def _once(self, batch: PairBatch) -> _Once:
        kinds = self.species_index[batch.numbers]
        sums = element_sums(batch, kinds, len(self.species), self.radial, self.cutoff_A, self.dtype)
        by_element = _ByElement(sums[:, :, 0], sums[:, :, 1:].flatten(1, 2))
        return _Once(batch, by_element, self.cutoff_A)

    def _listed(self, batch: GraphBatch) -> _Listed:
        x, (centre, neighbour) = batch.positions, batch.pairs
        vectors = (x[neighbour] + batch.shifts - x[centre]).to(self.dtype)
        distances = torch.sqrt((vectors * vectors).sum(-1))
        radial = bessel(distances, self.cutoff_A, self.radial)
        return _Listed(radial, vectors / distances.unsqueeze(-1), batch.pairs)
