"""What each strategy of selection is worth: force error at the same number of labels.

Usage, from the root of the repository, on one thread (extra ``xtb``)::

    OMP_NUM_THREADS=1 python -m benchmarks.selection_error [SMILES [LABELS …]]

The expert is GFN2-xTB. Two models are pre-trained on the MMFF94 teacher's noise and Langevin
structures; every strategy orders the same thermal candidates; the first so many are labelled, and
the pre-trained model is fine-tuned on them with settings that are the same for all. Errors are on
structures of a run that no candidate comes from: thermal ones, and hot ones beyond the candidates'
temperature. A round has candidates, seeds of selection and of training of its own; the ratio to
``random`` is taken round by round. Prints medians over rounds, and the least and the largest.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from apps.labeling.labeler import make_labeler
from apps.labeling.settings import MethodSettings
from apps.potential.protocol import Potential
from apps.potential.registry import make_potential
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.settings import LangevinSettings
from apps.sampling.teacher import Teacher, make_teacher
from apps.sampling.thermal import thermal_frames
from apps.selection.registry import ordered, strategy_names
from apps.training.accuracy import accuracy
from apps.training.distributed import World
from apps.training.labelled_set import LabelledSet
from apps.training.loop import Training, train
from apps.training.loss import LossWeights
from apps.training.refit import force_rms, refit
from data_store.streams import stream
from data_store.structures import Structures

_ROUNDS, _CANDIDATES, _TESTS = 5, 300, 200
_TEMPERATURE_K, _HOT_K = 500.0, 1000.0
_TAUGHT, _TAUGHT_STEPS, _TUNED_STEPS = 4096, 3000, 1500
_CPU = torch.device("cpu")
_DYNAMICS = LangevinSettings(equilibration_fs=500.0, stride_fs=100.0)


def _frames(teacher: Teacher, temperature_K: float, count: int, seed: int) -> np.ndarray:
    copies = 50
    made = thermal_frames(teacher, temperature_K, copies, -(-count // copies), _DYNAMICS, seed)
    return made.reshape(-1, *made.shape[-2:])[:count]


def _taught(teacher: Teacher, seed: int) -> Structures:
    """Hot structures, half of them shaken, with the teacher's labels."""
    x = _frames(teacher, 2.0 * _HOT_K, _TAUGHT, seed)
    shaken = stream(seed, "shaken").normal(scale=0.05, size=x[::2].shape)
    x[::2] += shaken
    energies, forces = teacher.energies_and_forces(x)
    return Structures.from_dense(teacher.molecule.numbers, x, energies=energies, forces=forces)


def _labelled(teacher: Teacher, x: np.ndarray) -> Structures:
    """The expert's labels."""
    labeler = make_labeler(MethodSettings(labeler="gfn2-xtb"))
    molecule = teacher.molecule
    found = [labeler.label(np.array(molecule.numbers), one, molecule.charge, 1) for one in x]
    return Structures.from_dense(
        molecule.numbers,
        x,
        energies=np.array([label.energy_eV for label in found]),
        forces=np.stack([label.forces for label in found]),
    )


def _trained(potential: Potential, chosen: LabelledSet, steps: int, rate: float, seed: int) -> None:
    held = max(1, len(chosen) // 10)
    sets = chosen.take(torch.arange(held, len(chosen))), chosen.take(torch.arange(held))
    training = Training(
        steps=steps, batch_size=min(16, len(sets[0])), learning_rate=rate, warmup_steps=50,
        final_lr_fraction=0.01, weight_decay=0.0, clip_norm=10.0, ema_decay=0.99,
        weights=LossWeights(1.0, 0.02), validate_every=max(100, steps // 20), keep_best=True,
        seed=seed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        where = (Path(folder), "training")
        train(potential, training, *sets, World(0, 1, _CPU), where, 1e9, lambda: False)


def _round(
    teacher: Teacher, sizes: list[int], number: int
) -> Iterator[tuple[str, int, list[float]]]:
    """Strategy, labels and force errors (thermal, hot) in meV/Å."""
    taught = LabelledSet.of(_taught(teacher, 1000 + number), _CPU)
    species = sorted(set(teacher.molecule.numbers))
    models = [make_potential("painn", "small", species, 5.0, 10 * number + k) for k in (0, 1)]
    for place, model in enumerate(models):
        refit(model, taught, force_rms(taught))
        _trained(model, taught, _TAUGHT_STEPS, 3e-3, 10 * number + place)
    candidates = _frames(teacher, _TEMPERATURE_K, _CANDIDATES, 2000 + number)
    looked_at = Structures.from_dense(
        teacher.molecule.numbers, candidates, energies=teacher.energies_and_forces(candidates)[0]
    )
    labels = _labelled(teacher, candidates)
    tests = [
        LabelledSet.of(_labelled(teacher, _frames(teacher, kelvin, _TESTS, 3000 + number)), _CPU)
        for kelvin in (_TEMPERATURE_K, _HOT_K)
    ]
    state = {name: value.clone() for name, value in models[0].state_dict().items()}
    for name in strategy_names():
        order = ordered(name, looked_at, number, models)
        for size in sizes:
            # Whoever validates is drawn from the selection: its beginning is the extremes.
            drawn = stream(number, "validation", size).permutation(order[:size])
            chosen = LabelledSet.of(labels.take(drawn), _CPU)
            student = make_potential("painn", "small", species, 5.0, 0)
            student.load_state_dict(state)
            refit(student, chosen, None)
            _trained(student, chosen, _TUNED_STEPS, 1e-3, number)
            errors = [1e3 * accuracy(student, test).force_mae_eV_per_A for test in tests]
            yield name, size, errors


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    smiles = sys.argv[1] if len(sys.argv) > 1 else "CCO"
    sizes = [int(word) for word in sys.argv[2:]] or [10, 30, 100]
    teacher = make_teacher("mmff94", molecule_from_smiles(smiles, name=smiles))
    found: dict[tuple[str, int], list[list[float]]] = {}
    for number in range(_ROUNDS):
        for name, size, errors in _round(teacher, sizes, number):
            found.setdefault((name, size), []).append(errors)
            print(
                f"round {number} {name:<18}{size:>5} {errors[0]:>8.1f} {errors[1]:>8.1f}",
                flush=True,
            )
    print(f"{smiles}: force error in meV/Å, median [least, largest] of {_ROUNDS} rounds; ratio")
    for (name, size), rounds in found.items():
        cells = []
        for kind in (0, 1):
            mine = [errors[kind] for errors in rounds]
            at_random = [errors[kind] for errors in found["random", size]]
            ratio = median(a / b for a, b in zip(mine, at_random, strict=True))
            cells.append(f"{median(mine):7.1f} [{min(mine):.1f}, {max(mine):.1f}] {ratio:5.2f}")
        print(f"{name:<18}{size:>5} labels  thermal {cells[0]}   hot {cells[1]}")


if __name__ == "__main__":
    main()
