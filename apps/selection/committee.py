r"""Selection by committee: first come the candidates whose forces pre-trained models disagree on.

The spread of a structure is the root mean square, over atoms and components, of the standard
deviation of its forces over the models (query by committee: Seung, Opper and Sompolinsky 1992,
doi:10.1145/130385.130417; for potentials Schran, Brezina and Marsalek 2020,
doi:10.1063/5.0016004). The models differ in their seeds alone, and have seen the teacher's labels:
they disagree where its structures do not determine them, not where the teacher is wrong. Structures
that resemble each other are taken one after the other; nothing keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_store.structures import Structures

if TYPE_CHECKING:
    from apps.potential.protocol import Potential

__all__ = ["committee", "force_spread"]


def committee(candidates: Structures, seed: int, models: Sequence[Potential]) -> NDArray[np.int64]:
    """Candidates in falling order of the models' spread; those of one spread by place.

    Parameters
    ----------
    candidates : Structures
        Of one number of atoms, not periodic.
    seed : int
        Decides nothing: the models do.
    models : sequence of Potential
        At least two.

    Returns
    -------
    ndarray of int64, shape (S,)

    Raises
    ------
    InputError
        If the candidates cannot be evaluated.
    """
    from apps.potential.asking import forces

    spread = force_spread(np.stack([forces(model, candidates) for model in models]))
    return np.argsort(-spread, kind="stable").astype(np.int64)


def force_spread(forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread (S,) in eV/Å of forces (models, S, N, 3) in eV/Å."""
    return np.asarray(np.sqrt(forces.var(axis=0).mean(axis=(1, 2))))
