"""Relaxing a geometry with any force field, by its energies and forces alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from apps.sampling.field import Field
from data_store.errors import MethodError

__all__ = ["relax"]

_FORCE_eV_PER_A = 1e-5
_LARGEST_eV_PER_A = 1e-3
_STEPS = 5_000


def relax(field: Field, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest minimum, by BFGS.

    Parameters
    ----------
    field : Field
    start : ndarray, shape (N, 3)
        In Å.

    Returns
    -------
    ndarray, shape (N, 3)

    Raises
    ------
    MethodError
        If a force above 1e-3 eV/Å is left.
    """

    def energy_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        energies, forces = field.energies_and_forces(flat.reshape(1, -1, 3))
        return float(energies[0]), -forces.ravel()

    found = minimize(
        energy_and_gradient,
        start.ravel(),
        jac=True,
        method="BFGS",
        options={"gtol": _FORCE_eV_PER_A, "maxiter": _STEPS},
    )
    largest = float(np.abs(found.jac).max())
    if not largest <= _LARGEST_eV_PER_A:  # NaN too
        raise MethodError(
            f"{field.molecule.formula} could not be relaxed: after {found.nit} steps a force of "
            f"{largest:.3g} eV/Å is left, from the reference geometry of the molecule",
            "give a geometry with system.xyz, or another [sampling] force_field",
        )
    return np.asarray(found.x, dtype=np.float64).reshape(-1, 3)
