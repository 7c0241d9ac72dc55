"""`Forces`: where a block's forces come from, a trained model or a reference method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from apps.contract import Request
from data_store.molecules import Molecule

__all__ = ["Forces", "ForcesOf", "forces_of_method", "forces_of_model"]


class Forces(NamedTuple):
    """Where a block's forces come from.

    Parameters
    ----------
    function : callable
        As the engine takes it.
    device : torch.device
    recorded : dict
        What the part says of it.
    counts : callable
        What the ledger counts, at the end.
    message : str
    """

    function: Any
    device: Any
    recorded: dict[str, Any]
    counts: Callable[[], dict[str, float]]
    message: str


def forces_of_model(req: Request, molecule: Molecule, replicas: int, steps: int) -> Forces:
    """Of a trained model; so many replicas and steps are the most that will be asked for."""
    import torch

    from apps.dynamics.forces import force_function_for
    from apps.dynamics.memory import FittingForces
    from apps.potential.weights import load_potential

    (model,) = req.input_parts("model")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    potential = load_potential(model.file("model.safetensors")).to(device)
    numbers = torch.tensor(molecule.numbers, device=device)
    function, evaluation = force_function_for(potential, numbers, replicas, steps)
    fitting = FittingForces(function, device)

    def counts() -> dict[str, float]:
        found = {"compiled": evaluation.compiled, "most_at_once": fitting.most_at_once}
        halved = {"out_of_memory": fitting.backed_off} if fitting.backed_off else {}
        return {name: float(value) for name, value in (found | halved).items()}

    return Forces(fitting, device, {"compiled": evaluation.compiled}, counts, str(evaluation))


def forces_of_method(req: Request, molecule: Molecule, replicas: int, steps: int) -> Forces:
    """Of the reference method that the settings name."""
    import torch

    from apps.potential.xtb import ReferenceMethod

    name = str(req.settings["method"])
    method = ReferenceMethod(name, molecule.numbers, molecule.charge, molecule.multiplicity)

    def function(positions: Any) -> tuple[Any, Any]:
        energies, forces = method.energies_and_forces(positions.numpy())
        return torch.from_numpy(energies), torch.from_numpy(forces)

    counts = lambda: {"unsolved": float(method.unsolved)}  # noqa: E731
    return Forces(function, torch.device("cpu"), {"method": name}, counts, "")


ForcesOf = Callable[[Request, Molecule, int, int], Forces]
"""From a request, its molecule, and the most replicas and steps that will be asked for."""
