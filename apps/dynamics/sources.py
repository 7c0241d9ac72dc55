"""`Forces`: where a block's forces come from, a trained model or a reference method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from apps.contract import Request
from apps.dynamics.systems import System
from data_store.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

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
    begin_segment : callable
        Told of each segment of the engine.
    """

    function: Any
    device: Any
    recorded: dict[str, Any]
    counts: Callable[[], dict[str, float]]
    message: str
    begin_segment: Callable[[], None]


def forces_of_model(req: Request, system: System, starts: Tensor, steps: int) -> Forces:
    """Of a trained model."""
    import torch

    from apps.dynamics.boxes import Box, box_forces_for
    from apps.dynamics.forces import force_function_for
    from apps.dynamics.memory import FittingForces
    from apps.potential.weights import load_potential

    (model,) = req.input_parts("model")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    potential = load_potential(model.file("model.safetensors")).to(device)
    numbers = torch.from_numpy(system.numbers).to(device)
    if system.cell is None:
        plain, evaluation = force_function_for(potential, numbers, len(starts), steps)
        function: Any = FittingForces(plain, device)
        fitting, begin_segment = function, _nothing
    else:
        box = Box(numbers, torch.from_numpy(system.cell).to(device))
        function, evaluation = box_forces_for(potential, box, starts.to(device), steps)
        fitting, begin_segment = function.fitting, function.forget

    def counts() -> dict[str, float]:
        found = {"compiled": evaluation.compiled, "most_at_once": fitting.most_at_once}
        halved = {"out_of_memory": fitting.backed_off} if fitting.backed_off else {}
        return {name: float(value) for name, value in (found | halved).items()}

    recorded = {"compiled": evaluation.compiled}
    return Forces(function, device, recorded, counts, str(evaluation), begin_segment)


def _nothing() -> None:
    return


def forces_of_method(req: Request, system: System, starts: Tensor, steps: int) -> Forces:
    """Of the reference method that the settings name.

    Raises
    ------
    InputError
        If there is a periodic box, or the method's package is not installed.
    """
    import torch

    from apps.potential.xtb import ReferenceMethod

    name = str(req.settings["method"])
    if system.cell is not None:
        raise InputError(
            f"the control by {name} is of single molecules, and these starts are in a periodic box",
            'set control.method = "none"',
        )
    (molecule,) = system.molecules
    method = ReferenceMethod(name, molecule.numbers, molecule.charge, molecule.multiplicity)

    def function(positions: Any) -> tuple[Any, Any]:
        energies, forces = method.energies_and_forces(positions.numpy())
        return torch.from_numpy(energies), torch.from_numpy(forces)

    counts = lambda: {"unsolved": float(method.unsolved)}  # noqa: E731
    return Forces(function, torch.device("cpu"), {"method": name}, counts, "", _nothing)


ForcesOf = Callable[[Request, System, "Tensor", int], Forces]
"""From a request, its system, the starts (R, N, 3) in Å of all replicas there will be, and the most
steps that will be asked for."""
