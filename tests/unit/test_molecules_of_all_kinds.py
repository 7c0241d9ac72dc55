"""Whatever the molecule: a teacher is found, and its structures of all tiers fit the window."""

from __future__ import annotations

import numpy as np
import pytest

from apps.sampling.chunk import make_chunk
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import SamplingSettings
from apps.sampling.teacher import choose_teacher, make_teacher

TIERS = {
    "langevin": {"weight": 0.3, "equilibration_fs": 20.0},
    "fragment": {"weight": 0.1},
    "normal_mode": {"weight": 0.1},
    "angle": {"weight": 0.1},
    "pair": {"weight": 0.2},
}
SETTINGS = SamplingSettings.model_validate({"chunk_structures": 24, "tiers": TIERS})


@pytest.mark.parametrize(
    ("smiles", "teacher", "left_out"),
    [
        ("[Na+]", "mmff94", {"scan", "clash", "normal_mode", "angle", "fragment"}),
        ("[Ar]", "gfnff", {"scan", "clash", "normal_mode", "angle", "fragment"}),
        ("C[N+](C)(C)C", "mmff94", set()),
        ("[NH3+]CC(=O)[O-]", "mmff94", set()),
        ("F[B-](F)(F)F", "gfnff", set()),
        ("O=C=O", "mmff94", {"pair"}),
        ("C#CC#C", "mmff94", set()),
        ("N=[N+]=[N-]", "mmff94", set()),
        ("CN1CCC[C@H]1c1cccnc1", "mmff94", set()),
        ("C[Si](C)(C)OC", "mmff94", set()),
        ("C[Hg]C", "gfnff", set()),
        ("[CH2]C", "mmff94", set()),
        ("O[O]", "gfnff", set()),
        ("O", "q-spc-fw", set()),
        ("II", "mmff94", {"clash", "angle"}),
    ],
)
def test_it_has_a_teacher_and_a_chunk(smiles: str, teacher: str, left_out: set[str]) -> None:
    molecule = molecule_from_smiles(smiles, name=smiles)
    choice = choose_teacher("auto", molecule)
    assert choice.name == teacher
    made = make_chunk(make_teacher(choice.name, molecule), SETTINGS, 0, 0)
    assert set(made.left_out) == left_out
    assert len(made.structures) == 24
    assert np.isfinite(made.structures.labelled_forces()).all()
    assert set(made.structures.charges) <= {molecule.charge, 2 * molecule.charge}
