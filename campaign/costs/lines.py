"""`Line`: seconds of a task by its units, from trials of different size; and how sure it is.

Far beyond its trials a line is a guess (validations among the steps are not in it: some per cent),
and the ranges are for these reasons:

- repeats differ, and a worker alone is faster than among others: a third less to twice as much;
- workers of a cluster are not this machine: twice more, either way;
- a GPU that is not here is from as fast as this processor to twenty times, four times expected;
- long work is compiled (`apps.potential.compiled`) and then takes a part of the time, as measured
  in ``benchmarks/``, after a minute for the first task of its kind and moments for the others;
- what fails costs nothing: dynamics may be over at once. Expected is that nothing fails.

A label that is too long to be waited for is scaled from that of water, by a power of the number of
electrons: 2.6 expected, 2 to 3.2, for density functionals on two small molecules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from campaign.costs.ranges import Range

__all__ = ["Line", "Machine", "adapted", "label_line", "line_through"]

_FASTER, _SLOWER = 1.5, 2.0
_ELSEWHERE = 2.0
_GPU_MOST, _GPU_EXPECTED = 20.0, 4.0
_COMPILING_S = 20.0
_COMPILED = {"pretrain": (2.8, 2.3), "finetune": (2.8, 2.3), "simulate": (1.9, 1.6)}
"""How many times faster compiled work is: at most, and expected."""

_COMPILED_ON_GPU = (12.0, 5.0)

_ON_DEVICES = ("pretrain", "finetune", "simulate")
_EARLY = 10.0
_ELECTRON_POWERS = (2.0, 2.6, 3.2)
_RANKS_MEET_S = 3.0
_LONE = 5.0


@dataclass(frozen=True)
class Line:
    """Seconds of a task: ``fixed_s + unit_s * units``.

    Parameters
    ----------
    fixed_s, unit_s : float
    below, above : float
        How many times less and more it may be.
    note : str
        What else it rests on, in words.
    """

    fixed_s: float
    unit_s: float
    below: float = _FASTER
    above: float = _SLOWER
    note: str = ""

    def seconds(self, units: float) -> Range:
        """Of a task of so many units."""
        return Range.about(self.fixed_s + self.unit_s * units, self.below, self.above)

    def noting(self, note: str) -> Line:
        """Same line with a further note."""
        return replace(self, note=f"{self.note}, {note}" if self.note else note)

    def faster(self, most: float, expected: float) -> Line:
        """Line of units that take a part of the time: by so many times, or by none."""
        return replace(
            self, unit_s=self.unit_s / expected, below=self.below * most / expected,
            above=self.above * expected,
        )  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What is to do the work, seen from where the trials ran.

    Parameters
    ----------
    elsewhere : bool
        Whether it is another machine.
    gpus : bool
        Whether its workers of a stage have GPUs and the trials had none.
    compiles : bool
        Whether the work of a stage is long enough to be compiled.
    tried_on_gpu : bool
        Whether the trials, which are too short to be, ran on a GPU.
    starts_s : float
        What a task waits for before its work: processes of its own and their imports.
    """

    elsewhere: bool = False
    gpus: bool = False
    compiles: bool = False
    tried_on_gpu: bool = False
    starts_s: float = 0.0

    @staticmethod
    def ranks_start_s(imports_s: float) -> float:
        """How long ranks take to start, load their libraries and meet."""
        return imports_s + _RANKS_MEET_S


def line_through(trials: Sequence[tuple[float, float]]) -> Line:
    """Line through trials: units and seconds of each.

    Where more units took less, all time counts by the unit. So it does where there is one trial
    alone, of which much may be fixed: then units may take a part of it.

    Parameters
    ----------
    trials : sequence of (float, float)
        At least one.
    """
    sizes = sorted({units for units, _ in trials})
    least, most = (
        (size, median(seconds for units, seconds in trials if units == size))
        for size in (sizes[0], sizes[-1])
    )
    if len(trials) == 1 and most[0] > 1.0:
        lone = Line(0.0, most[1] / most[0], below=_FASTER * _LONE)
        return lone.noting("one short trial")
    slope = (most[1] - least[1]) / (most[0] - least[0]) if most[0] > least[0] else 0.0
    if slope <= 0.0:
        return Line(0.0, most[1] / most[0])
    fixed = most[1] - slope * most[0]
    return Line(fixed, slope) if fixed >= 0.0 else Line(0.0, most[1] / most[0])


def label_line(rows: Sequence[Mapping[str, Any]], waited_s: float) -> Line | None:
    """Line of labels: from the molecule's, else scaled from water's; None without either.

    Parameters
    ----------
    rows : sequence of mapping
        Trials: ``seconds``, ``electrons``, and whether it is the molecule's ``own``.
    waited_s : float
        At least so long a label takes where there is none of the molecule.
    """
    own = [float(row["seconds"]) for row in rows if row["own"]]
    if own:
        # The first of a process is slow, which one of several hundred is, too.
        return Line(0.0, median(own[1:] or own), note=f"{len(own)} labels of the molecule")
    water = [row for row in rows if not row["own"]]
    if not water:
        return None
    ratio = water[0]["molecule_electrons"] / water[0]["electrons"]
    seconds = median(float(row["seconds"]) for row in water)
    low, expected, high = (
        max(value, waited_s)
        for value in sorted(seconds * ratio**power for power in _ELECTRON_POWERS)
    )
    note = f"scaled from a label of water by {ratio:.3g} times its electrons, not measured"
    return Line(0.0, expected, expected / low * _FASTER, high / expected * _SLOWER, note)


def adapted(line: Line, stage: str, machine: Machine) -> Line:
    """Line of a stage on the machine that is to do its work."""
    found = line
    if machine.elsewhere:
        wider = replace(line, below=line.below * _ELSEWHERE, above=line.above * _ELSEWHERE)
        found = wider.noting("taken for another machine")
    if machine.gpus and stage in _ON_DEVICES:
        found = found.faster(_GPU_MOST, _GPU_EXPECTED).noting("without the GPU that it will have")
    elif machine.compiles and stage in _COMPILED:
        times = _COMPILED_ON_GPU if machine.tried_on_gpu else _COMPILED[stage]
        found = found.faster(*times).noting("as compiled work goes")
        found = replace(found, fixed_s=found.fixed_s + _COMPILING_S)
    if stage in {"simulate", "control"}:
        found = replace(found, below=found.below * _EARLY).noting("as if nothing failed")
    return replace(found, fixed_s=found.fixed_s + machine.starts_s)
