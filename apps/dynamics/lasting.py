"""Conditions that must hold for a while before a replica has failed.

A molecule that collides is for a moment what a molecule that fused is for good: what tells them
apart is time. So the record of a criterion can name a time, and its function then says what is so
at this check, of each of its *units* (bonds, molecules, atoms; or of the replica as one); here is
kept since when that has been so without a break. A replica fails at the first check at which some
unit's condition has held for that time: at each check from the first to this one. What happens
between checks is not seen.

The time of failure is that of this check, not that at which the condition began: whether a replica
has failed by a time then depends on nothing later, as Kaplan–Meier estimates, rates and competing
causes ask (a stopping time; Andersen, Borgan, Gill and Keiding 1993, doi:10.1007/978-1-4612-4348-9,
chapter II). It began earlier by the time that is asked for, rounded up to whole checks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from apps.dynamics.criteria_records import Criterion
from apps.dynamics.findings import Finding, Units
from apps.dynamics.settings import DynamicsSettings

__all__ = ["Since", "changed", "lasted", "lasting_steps"]

Since = dict[str, Tensor]
"""By name of a criterion: step of the check since which each unit's condition has held, (R, K)
int64; −1 where it does not hold. Of a criterion that judges a change: the value at the first check,
(R,)."""


def lasting_steps(criterion: Criterion, settings: DynamicsSettings) -> int:
    """Time steps for which a criterion's condition must hold; 0 where it fails at once."""
    return math.ceil(criterion.lasting_under(settings) / settings.timestep_fs - 1e-6)


def lasted(finding: Finding, steps: int, step: int, since: Tensor | None) -> tuple[Finding, Tensor]:
    """What has held for so many steps at this one, and since when what holds does.

    Parameters
    ----------
    finding : Finding
        Of this check.
    steps : int
        Asked for.
    step : int
        Of this check.
    since : Tensor of int64, shape (R, K), or None
        As of the check before; None where there was none.

    Returns
    -------
    Finding
        With value and atoms of the unit whose condition has held longest, of several the first.
    Tensor of int64, shape (R, K)
    """
    units = finding.units or _whole(finding)
    if since is None:
        since = torch.full(units.holds.shape, -1, device=units.holds.device)
    since = torch.where(units.holds, torch.where(since < 0, step, since), -1)
    count = since.shape[1]
    if not count:
        return finding, since
    held = torch.where(units.holds, step - since, -1)
    order = torch.arange(count, device=held.device)
    longest = (held * count - order).argmax(dim=1, keepdim=True)
    failed = held.gather(1, longest)[:, 0] >= steps
    value = units.values.gather(1, longest)[:, 0]
    atoms = units.atoms.expand(len(held), count, 2)
    atoms = atoms.gather(1, longest[:, :, None].expand(-1, 1, 2))[:, 0]
    return Finding(failed, value, atoms), since


def changed(finding: Finding, bound: float, start: Tensor | None) -> tuple[Finding, Tensor]:
    """What has changed by more than a bound since the first check, and the values at that one.

    Parameters
    ----------
    finding : Finding
        Of this check: its value is what may not change.
    bound : float
        In the unit of that value.
    start : Tensor, shape (R,), or None
        Values at the first check; None where this is the first.

    Returns
    -------
    Finding
        Its value is the change.
    Tensor, shape (R,)
    """
    start = finding.value if start is None else start
    change = finding.value - start
    return Finding(change.abs() > bound, change, finding.atoms), start


def _whole(finding: Finding) -> Units:
    """The replica as its only unit."""
    return Units(finding.failed[:, None], finding.value[:, None], finding.atoms[:, None])
