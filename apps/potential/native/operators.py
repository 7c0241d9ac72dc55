r"""`messages.cpp` as operators of torch that can be traced and differentiated once, on a CPU.

With :math:`r` and :math:`\hat r` of a pair within the cutoff, :math:`b_k` the Bessel functions
under the envelope (`apps.potential.radial`) and :math:`W = \sum_k b_k(r) w_k` the filters,

.. math::
    s_i = \sum_j W_s \circ \phi_{s,j}, \quad
    v_i = \sum_j \hat r_{ij} \otimes (W_{vs} \circ \phi_{vs,j}) + W_{vv} \circ u_j

(`pair_sums`), and sums of :math:`b_k` and :math:`\hat r b_k` over neighbours of one element
(`element_sums`). Both are differentiable in what atoms carry and in their places, not in the
filters: they serve energies and forces, not training.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import torch
from torch import Tensor

from apps.potential.batch import PairBatch
from apps.potential.native.library import library_for

__all__ = ["element_sums", "pair_sums"]

_LIBRARY = torch.library.Library("campaign", "DEF")
_LISTED = "Tensor positions, Tensor pairs, Tensor shifts"
_LIBRARY.define(f"pair_sums(Tensor carried, {_LISTED}, Tensor filters, float cutoff_A) -> Tensor")
_LIBRARY.define(
    f"pair_sums_gradient(Tensor gradient, Tensor carried, {_LISTED}, Tensor filters, "
    "float cutoff_A) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    f"element_sums({_LISTED}, Tensor kinds, int elements, int radial, float cutoff_A, "
    "ScalarType dtype) -> Tensor"
)
_LIBRARY.define(
    f"element_sums_gradient(Tensor gradient, {_LISTED}, Tensor kinds, int radial, "
    "float cutoff_A) -> Tensor"
)

_NAMES = {torch.float32: "float", torch.float64: "double"}


def pair_sums(carried: Tensor, batch: PairBatch, filters: Tensor, cutoff_A: float) -> Tensor:
    """Messages of neighbours, summed.

    Parameters
    ----------
    carried : Tensor, shape (B, N, 5 F)
        Of each atom what scalars and directions are made of, and three components of vectors.
    batch : PairBatch
    filters : Tensor, shape (K, 3 F)
    cutoff_A : float

    Returns
    -------
    Tensor, shape (B, N, 4 F)
        Scalars and three components of vectors.

    Raises
    ------
    RuntimeError
        If there is no compiled library and none can be made.
    """
    found = torch.ops.campaign.pair_sums(
        carried, batch.positions, batch.pairs, batch.shifts, filters, cutoff_A
    )
    return cast(Tensor, found)


def element_sums(
    batch: PairBatch, kinds: Tensor, elements: int, radial: int, cutoff_A: float, dtype: torch.dtype
) -> Tensor:
    """Radial functions summed over neighbours of each element, alone and times directions.

    Parameters
    ----------
    batch : PairBatch
    kinds : Tensor of int64, shape (B, N)
        Which element an atom is of, below `elements`.
    elements, radial : int
        S and K.
    cutoff_A : float
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (B, N, 4, S K)

    Raises
    ------
    RuntimeError
        If there is no compiled library and none can be made.
    """
    found = torch.ops.campaign.element_sums(
        batch.positions, batch.pairs, batch.shifts, kinds, elements, radial, cutoff_A, dtype
    )
    return cast(Tensor, found)


def _call(name: str, features: int, radial: int, dtype: torch.dtype, *arguments: Any) -> None:
    function = getattr(library_for(features, radial), f"{name}_{_NAMES[dtype]}")
    function(*(_as_c(argument) for argument in arguments))


def _as_c(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int64(argument)


def _listed(positions: Tensor, pairs: Tensor, shifts: Tensor, cutoff_A: float) -> tuple[Any, ...]:
    """Arguments that all functions begin with; what they point to must be kept until the call."""
    batch, atoms = positions.shape[:2]
    return batch, atoms, pairs.shape[1], cutoff_A, positions, pairs, shifts


def _contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in tensors)


def _pair_sums(
    carried: Tensor, positions: Tensor, pairs: Tensor, shifts: Tensor, filters: Tensor,
    cutoff_A: float,
) -> Tensor:  # fmt: skip
    carried, x, pairs, shifts, filters = _contiguous(
        carried, positions.double(), pairs, shifts, filters
    )
    features, radial = carried.shape[-1] // 5, filters.shape[0]
    found = carried.new_zeros(*carried.shape[:2], 4 * features)
    listed = _listed(x, pairs, shifts, cutoff_A)
    _call("sums", features, radial, carried.dtype, *listed, carried, filters, found)
    return found


def _pair_sums_gradient(
    gradient: Tensor, carried: Tensor, positions: Tensor, pairs: Tensor, shifts: Tensor,
    filters: Tensor, cutoff_A: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    gradient, carried, x, pairs, shifts, filters = _contiguous(
        gradient, carried, positions.double(), pairs, shifts, filters
    )
    features, radial = carried.shape[-1] // 5, filters.shape[0]
    to_carried, to_place = torch.zeros_like(carried), torch.zeros_like(x)
    _call(
        "sums_gradient", features, radial, carried.dtype, *_listed(x, pairs, shifts, cutoff_A),
        carried, filters, gradient, to_carried, to_place,
    )  # fmt: skip
    return to_carried, to_place.to(positions.dtype)


def _element_sums(
    positions: Tensor, pairs: Tensor, shifts: Tensor, kinds: Tensor, elements: int, radial: int,
    cutoff_A: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    x, pairs, shifts, kinds = _contiguous(positions.double(), pairs, shifts, kinds)
    width = elements * radial
    found = x.new_zeros(*x.shape[:2], 4, width, dtype=dtype)
    listed = _listed(x, pairs, shifts, cutoff_A)
    _call("elements", _ANY, radial, dtype, *listed, kinds, width, found)
    return found


def _element_sums_gradient(
    gradient: Tensor, positions: Tensor, pairs: Tensor, shifts: Tensor, kinds: Tensor, radial: int,
    cutoff_A: float,
) -> Tensor:  # fmt: skip
    gradient, x, pairs, shifts, kinds = _contiguous(
        gradient, positions.double(), pairs, shifts, kinds
    )
    to_place = torch.zeros_like(x)
    _call(
        "elements_gradient", _ANY, radial, gradient.dtype, *_listed(x, pairs, shifts, cutoff_A),
        kinds, gradient.shape[-1], gradient, to_place,
    )  # fmt: skip
    return to_place.to(positions.dtype)


_ANY = 16
"""Features that the library is made for where sums over elements alone are asked of it."""

for _name, _function in (
    ("pair_sums", _pair_sums),
    ("pair_sums_gradient", _pair_sums_gradient),
    ("element_sums", _element_sums),
    ("element_sums_gradient", _element_sums_gradient),
):
    _LIBRARY.impl(_name, _function, "CPU")


def _register(name: str, shape: Any) -> None:
    torch.library.register_fake(f"campaign::{name}", shape, lib=_LIBRARY)


_register("pair_sums", lambda carried, *_: carried.new_empty(
    *carried.shape[:2], carried.shape[2] // 5 * 4
))  # fmt: skip
_register("pair_sums_gradient", lambda _, carried, positions, *__: (
    torch.empty_like(carried), torch.empty_like(positions)
))  # fmt: skip
_register("element_sums", lambda positions, _, __, ___, elements, radial, ____, dtype: (
    positions.new_empty(*positions.shape[:2], 4, elements * radial, dtype=dtype)
))  # fmt: skip
_register("element_sums_gradient", lambda _, positions, *__: torch.empty_like(positions))


def _keep_pair_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.cutoff_A = inputs
    ctx.save_for_backward(*tensors)


def _pair_sums_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    carried, positions, pairs, shifts, filters = ctx.saved_tensors
    to_carried, to_place = torch.ops.campaign.pair_sums_gradient(
        gradient, carried, positions, pairs, shifts, filters, ctx.cutoff_A
    )
    return to_carried, to_place, None, None, None, None


def _keep_element_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _, ctx.radial, ctx.cutoff_A, _ = inputs
    ctx.save_for_backward(*tensors)


def _element_sums_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    to_place = torch.ops.campaign.element_sums_gradient(
        gradient, *ctx.saved_tensors, ctx.radial, ctx.cutoff_A
    )
    return to_place, None, None, None, None, None, None, None


torch.library.register_autograd(
    "campaign::pair_sums", _pair_sums_backward, setup_context=_keep_pair_sums, lib=_LIBRARY
)
torch.library.register_autograd(
    "campaign::element_sums", _element_sums_backward, setup_context=_keep_element_sums,
    lib=_LIBRARY,
)  # fmt: skip
