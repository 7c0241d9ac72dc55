"""Hills and bias of a block as columns of its part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from data_store.columns import Column

if TYPE_CHECKING:
    from apps.dynamics.metadynamics import Bias, Hills

__all__ = ["HILLS_SCHEMA", "hill_columns", "hills_record"]

HILLS_SCHEMA = 1
"""Version of the columns and of the record."""


def hill_columns(bias: Bias, hills: Hills, timestep_fs: float) -> dict[str, Column]:
    """Hills laid, by time and walker, and the bias at the nodes of its grid at the end.

    ``hill_walker`` is the row among the runs; ``hill_centre_0`` and, of two variables,
    ``hill_centre_1`` are in the variables' units.
    """
    laid = hills.laid()
    heights, centres = laid.heights.cpu().numpy(), laid.centres.cpu().numpy()
    moments, walkers = np.nonzero(heights > 0.0)
    pace_ps = bias.pace_steps * timestep_fs * 1e-3
    values = hills.table[..., 0] if len(bias.variables) == 1 else hills.table[..., 0, 0]
    return {
        "hill_time": Column((moments + 1) * pace_ps, "ps"),
        "hill_walker": Column(walkers.astype(np.int32)),
        "hill_height": Column(heights[moments, walkers], "eV"),
        **{
            f"hill_centre_{d}": Column(centres[moments, walkers, d], variable.unit)
            for d, variable in enumerate(bias.variables)
        },
        "bias": Column(values.cpu().numpy(), "eV"),
    }


def hills_record(bias: Bias, hills: Hills) -> dict[str, Any]:
    """What the part says of them in words and numbers."""
    return {
        "schema": HILLS_SCHEMA,
        "units": [variable.unit for variable in bias.variables],
        "left_out": hills.left_out,
    }
