"""`Benchmark`: what a campaign's tasks take on this machine, from a miniature of some seconds.

For what no ledger tells; how far it can be trusted is `campaign.costs.lines`' business. What
`campaign plan` measured is kept for a launch, which is no time to keep a user waiting, in
``~/.cache/campaign/benchmarks`` (``$XDG_CACHE_HOME`` is heeded): a plan writes nothing into a
workspace. It holds for work of the same families on the same site.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from campaign.costs.effort import Effort, family_of, priced_stage
from campaign.costs.lines import Line, Machine, adapted, label_line, line_through
from campaign.costs.miniature import LABEL
from campaign.costs.ranges import Range
from campaign.costs.todo import ToDo
from campaign.plan.stages import STAGES
from campaign.sites.site import LocalSite, Site
from campaign.spec.model import CampaignSpec
from campaign.workspace import Workspace
from data_store.errors import WorkspaceError
from data_store.fingerprints import fingerprint
from data_store.work import write_atomic

__all__ = ["Benchmark", "benchmark_of", "keep_benchmark", "kept_benchmark", "run_benchmark"]

CPU_LIMIT_S, LIMIT_S = 13.0, 60.0
"""Of processor time of a thread, after which trials are ended and what was told until then is used;
and by the clock, which on a busy machine, or where libraries come from a slow disk, is longer."""

_POLL_S = 0.05


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Parameters
    ----------
    site : str
        Name of the site that it was adapted to.
    host : str
        Where it was measured.
    lines : dict of str to Line
        By task function.
    families : tuple of str
        Families of work that it holds for.
    lacking : dict of str to str
        Task functions that were not measured, and why.
    atoms, parameters : int
        Of the molecule and of the potential; 0 where that is not known.
    imports_s : float
        Of a worker, for its libraries.
    """

    site: str
    host: str
    lines: dict[str, Line] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    lacking: dict[str, str] = field(default_factory=dict)
    atoms: int = 0
    parameters: int = 0
    imports_s: float = 0.0

    def seconds_of(self, effort: Effort, function: str) -> Range | None:
        """Seconds of a worker for a task; None where it was not measured."""
        line = self.lines.get(function)
        if line is None or family_of(effort.kind) not in self.families:
            return None
        return line.seconds(effort.amount)

    def why_not(self, function: str) -> str:
        """Why a function was not measured: its own failure, else that of what comes before it."""
        told = self.lacking.get(function) or next(iter(self.lacking.values()), "")
        return told or "its time was up before"

    def basis(self, function: str) -> str:
        """In words."""
        note = self.lines[function].note
        return f"benchmark on {self.host}" + (f", {note}" if note else "")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Benchmark:
        """Benchmark from the plain data that `to_json` gave."""
        lines = {name: Line(**line) for name, line in data["lines"].items()}
        return Benchmark(**{**data, "lines": lines, "families": tuple(data["families"])})


def _cached(workspace: Workspace) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "campaign" / "benchmarks" / f"{fingerprint(str(workspace.root))[:16]}.json"


def keep_benchmark(workspace: Workspace, found: Benchmark) -> None:
    """Keep it for a launch; where nothing can be written, the launch will know less."""
    with contextlib.suppress(WorkspaceError):
        write_atomic(_cached(workspace), json.dumps(found.to_json(), indent=1).encode())


def kept_benchmark(workspace: Workspace, site: str) -> Benchmark | None:
    """The one that `campaign plan` kept for a site; None if there is none that can be read."""
    try:
        found = Benchmark.from_json(json.loads(_cached(workspace).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.site == site else None


def run_benchmark(spec: CampaignSpec, lacking: Sequence[ToDo], site: Site) -> Benchmark:
    """Measure what work takes; some seconds.

    Parameters
    ----------
    spec : CampaignSpec
    lacking : sequence of ToDo
        Work of which the time is wanted.
    site : Site
        Where it will be done.
    """
    stages = sorted({priced_stage(one.example.stage) for one in lacking if one.function != LABEL})
    kinds = [*(["models"] if stages else [])]
    kinds += ["labels"] if any(one.function == LABEL for one in lacking) else []
    with tempfile.TemporaryDirectory(prefix="campaign-benchmark-") as folder:
        told = _trials(spec, site, stages, kinds, Path(folder))
    families = sorted({family_of(one.kind) for one in lacking})
    return benchmark_of(told, spec, site, families)


def _trials(
    spec: CampaignSpec, site: Site, stages: list[str], kinds: list[str], folder: Path
) -> list[dict[str, Any]]:
    """What the trials told until they ended, or their time did."""
    threads = site.pools[site.pool_of("cpu")].threads_per_worker
    processes = []
    for kind in kinds:
        place = folder / kind
        place.mkdir()
        order = {
            "spec": spec.model_dump(mode="json"), "folder": str(place), "kind": kind,
            "threads": threads, "stages": stages,
        }  # fmt: skip
        (place / "order.json").write_text(json.dumps(order), encoding="utf-8")
        command = [
            sys.executable,
            "-P",
            "-m",
            "campaign.costs.miniature",
            str(place / "order.json"),
        ]
        with (place / "told").open("wb") as out, (place / "errors").open("wb") as errors:
            processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                    env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                )
            )  # fmt: skip
    _wait(processes, threads)
    told = [row for kind in kinds for row in _told(folder / kind / "told")]
    for kind, process in zip(kinds, processes, strict=True):
        if process.returncode > 0:  # not ended by us
            told.append({"function": "", "failed": _last_line(folder / kind / "errors")})
    return told


def _wait(processes: Sequence[subprocess.Popen[bytes]], threads: int) -> None:
    """Until each has ended, or has used up its time and is ended."""
    due = time.monotonic() + LIMIT_S
    try:
        while any(process.poll() is None for process in processes):
            for process in processes:
                if _cpu_s(process) > CPU_LIMIT_S * threads or time.monotonic() > due:
                    process.kill()
            time.sleep(_POLL_S)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time of a process; none of one that has ended."""
    try:
        used = psutil.Process(process.pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


def _told(path: Path) -> Iterable[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # torn when its time was up
            yield json.loads(line)


def benchmark_of(
    told: Sequence[Mapping[str, Any]],
    spec: CampaignSpec,
    site: Site,
    families: Sequence[str],
) -> Benchmark:
    """Benchmark from what trials told, adapted to a site.

    Parameters
    ----------
    told : sequence of mapping
        Lines of `campaign.costs.miniature`.
    spec : CampaignSpec
    site : Site
    families : sequence of str
        Families of work that it is to hold for.
    """
    facts: dict[str, Any] = {}
    trials: dict[str, list[tuple[float, float]]] = defaultdict(list)
    lacking: dict[str, str] = {}
    for row in told:
        if "failed" in row:
            lacking.setdefault(row["function"], row["failed"])
        elif "function" not in row:
            facts |= row
        elif row["function"] != LABEL:
            trials[row["function"]].append((row["amount"], row["seconds"]))
    lines = {function: line_through(found) for function, found in trials.items()}
    labels = label_line([row for row in told if "own" in row], CPU_LIMIT_S / 2)
    lines |= {LABEL: labels} if labels is not None else {}
    return Benchmark(
        site.site.name, platform.node(),
        {
            function: adapted(line, _stage(function), _machine(_stage(function), spec, site, facts))
            for function, line in lines.items()
        },
        tuple(families),
        {function: why for function, why in lacking.items() if function not in lines},
        int(facts.get("atoms", 0)), int(facts.get("parameters", 0)),
        float(facts.get("imports_s", 0.0)),
    )  # fmt: skip


def _stage(function: str) -> str:
    """Stage that a task function serves; labels, and other methods' probes, are of theirs."""
    return next((name for name, stage in STAGES.items() if stage.function == function), "")


def _machine(stage: str, spec: CampaignSpec, site: Site, facts: Mapping[str, Any]) -> Machine:
    pool = site.pools[site.pool_of(STAGES[stage].role if stage else "cpu")]
    ranks = stage == "pretrain" and spec.pretraining.ranks > 1
    return Machine(
        elsewhere=not isinstance(site, LocalSite),
        gpus=pool.gpus_per_node > 0 and not facts.get("gpu", False),
        compiles=stage in facts.get("compiled", []),
        tried_on_gpu=facts.get("gpu", False),
        starts_s=Machine.ranks_start_s(float(facts.get("imports_s", 0.0))) if ranks else 0.0,
    )
