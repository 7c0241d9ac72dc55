"""`examine_site`: the smallest block of each pool, tried, before a campaign is trusted to it.

Submits real blocks and real tasks through the same Parsl configuration as a launch, so that what
passes here is what a launch needs: workers that reach this host, versions that agree, threads and
GPUs as asked for, a scratch folder, clocks that agree, a part that one node writes and others read,
ranks that meet. It mends nothing, and measures no speed.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from apps.checkup import owners
from apps.contract import Request
from campaign.execution.blocks import BlockWatch
from campaign.execution.scheduler import job_prefix
from campaign.execution.workers import Workers
from campaign.sites.site import BatchPool, BatchSite, Pool, Site
from campaign.sites.walltime import walltime_of_seconds
from data_store.errors import Stopped

__all__ = ["Finding", "examine_site", "smallest"]

LONGEST_BLOCK_S = 600
"""Walltime that a check asks for, if the pool's is not shorter."""

CLOCK_S = 5.0
"""How far the clock of a node may be off: deadlines go by it."""

Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    pool, check : str
    found : str
        What was found, in words.
    well : bool
    advice : str
        What to do where it is not well.
    """

    pool: str
    check: str
    found: str
    well: bool
    advice: str = ""


def smallest(site: Site) -> Site:
    """The site with one small, short block for each pool; pool mpi keeps two nodes if it has."""
    if not isinstance(site, BatchSite):
        return site
    pools = {name: _small(name, pool) for name, pool in site.pools.items()}
    return site.model_copy(update={"pools": pools})


def _small(name: str, pool: BatchPool) -> BatchPool:
    nodes = min(2, pool.nodes_per_block) if name == "mpi" else 1
    seconds = min(pool.walltime_s, LONGEST_BLOCK_S)
    changed = {"nodes_per_block": nodes, "max_blocks": 1, "walltime": walltime_of_seconds(seconds)}
    return pool.model_copy(update=changed)


def examine_site(site: Site, folder: Path, patience_s: float) -> list[Finding]:
    """Try every pool of a site.

    Parameters
    ----------
    site : Site
    folder : Path
        Shared by this host and the nodes; logs and what is written stay there.
    patience_s : float
        How long the first worker of a pool may take to come, the wait in the queue included.
    """
    small = smallest(site)
    watch = BlockWatch(lambda event, **fields: None, job_prefix(folder))
    findings = [_owned("driver", owners())]
    with Workers(small, folder, folder / "parsl", watch) as workers:
        began = time.monotonic()
        first = {pool: _ask(workers, pool, folder, "examine") for pool in small.pools}
        for pool, future in first.items():
            findings += _of_pool(workers, small, pool, future, folder, began + patience_s)
    return findings


def _ask(
    workers: Workers, pool: str, folder: Path, function: str, **request: Any
) -> Future[Answer]:
    asked = Request(
        parts_root=str(folder / "parts"), work_root=str(folder / "work"), stage="checkup",
        fingerprint=request.pop("fingerprint", f"checkup-{pool}"),
        settings=request.pop("settings", {}), seed=0, **request,
    )  # fmt: skip
    mark = folder / f"{pool}-{function}.json"
    ranks = int(asked.settings.get("ranks", 1))
    return workers.submit(pool, f"apps.checkup:{function}", [asked.to_json()], [str(mark)], ranks)


def _of_pool(
    workers: Workers, site: Site, pool: str, first: Future[Answer], folder: Path, due: float
) -> Iterator[Finding]:
    """All that is found of one pool."""
    asked_unix, began = time.time(), time.monotonic()
    try:
        (answer,) = _wait(workers, first, due)
    except (Stopped, OSError) as error:
        yield Finding(pool, "first worker", str(error), False, "see the logs that are named")
        return
    took_s, answered_unix = time.monotonic() - began, time.time()
    yield Finding(pool, "first worker", f"after {took_s:.1f} s", True)
    found = json.loads(answer["message"])
    yield from _of_worker(pool, site.pools[pool], found, asked_unix, answered_unix)  # type: ignore[index]
    yield _files(workers, pool, folder, due)
    if pool == "mpi":
        yield _ranks(workers, site.pools["mpi"], folder, due)


def _wait(workers: Workers, future: Future[Answer], due: float) -> Answer:
    """Answer of a task.

    Raises
    ------
    Stopped
        If the pool cannot be had, or does not answer in time.
    """
    while time.monotonic() < due:
        workers.check()
        try:
            return future.result(timeout=0.5)
        except TimeoutError:
            continue
        except Exception as error:
            raise Stopped(f"{type(error).__name__}: {error}") from error
    raise Stopped("no answer in the time given (--patience)")


def _of_worker(
    pool: str, asked: Pool, found: dict[str, Any], since_unix: float, until_unix: float
) -> Iterator[Finding]:
    """What one worker found, judged by what was asked for."""
    here = {
        "python": platform.python_version(),
        "parsl": metadata.version("parsl"),
        "mlip-campaign": metadata.version("mlip-campaign"),
    }
    there = {name: found[name] for name in here}
    yield Finding(
        pool, "versions", ", ".join(f"{k} {v}" for k, v in there.items()), there == here,
        f"the driver has {', '.join(f'{k} {v}' for k, v in here.items())}: use one environment",
    )  # fmt: skip
    yield _owned(pool, found["owners"])
    yield Finding(
        pool, "threads", f"{found['threads']} of {found['cores']} cores on {found['host']}",
        found["threads"] == str(asked.threads_per_worker)
        and found["cores"] >= asked.threads_per_worker,
        "cores_per_node gives a block too few cores, or worker_init sets other threads",
    )  # fmt: skip
    if asked.gpus_per_node:
        yield Finding(
            pool, "GPUs", f"torch sees {found['gpus']} (CUDA_VISIBLE_DEVICES={found['devices']})",
            found["gpus"] >= 1, "load the driver's module in worker_init; is torch a CUDA build?",
        )  # fmt: skip
    yield Finding(
        pool, "scratch", found["scratch"], not found["scratch"].startswith("not"),
        "name a folder that can be written with site.scratch",
    )  # fmt: skip
    off_s = _off_s(found["unix"], since_unix, until_unix)
    yield Finding(
        pool, "clock", f"within {off_s:.1f} s of the driver's", off_s <= CLOCK_S,
        "deadlines go by the clock: ask the operators, or raise site.grace_s by this much",
    )  # fmt: skip


def _off_s(unix: float, since_unix: float, until_unix: float) -> float:
    """By how much a clock is off at least, that was read between two times of ours."""
    return max(0.0, since_unix - unix, unix - until_unix)


def _owned(pool: str, owned: dict[str, list[str]]) -> Finding:
    foreign = {name: by for name, by in owned.items() if by != ["mlip-campaign"]}
    said = "; ".join(f"{name} of {', '.join(by) or 'nobody'}" for name, by in foreign.items())
    return Finding(
        pool, "packages", said or f"{', '.join(owned)} are this distribution's alone", not foreign,
        "another distribution owns a package of this name: use an environment of its own",
    )  # fmt: skip


def _files(workers: Workers, pool: str, folder: Path, due: float) -> Finding:
    """A part that the pool writes, read here and by the pool."""
    advice = "this folder must be on a file system that driver and nodes share (--dir)"
    try:
        (wrote,) = _wait(workers, _ask(workers, pool, folder, "write"), due)
        if wrote["outcome"] != "done":
            raise Stopped(wrote["message"])
        seen = Path(wrote["path"], "manifest.json").exists()
        parts = {"parts": [wrote["path"]]}
        (read,) = _wait(workers, _ask(workers, pool, folder, "read_back", inputs=parts), due)
        if read["outcome"] != "done":
            raise Stopped(read["message"])
    except Stopped as error:
        return Finding(pool, "shared files", str(error), False, advice)
    words = "a part written, renamed and read back" + ("" if seen else ", but not seen here")
    return Finding(pool, "shared files", words, seen, advice)


def _ranks(workers: Workers, pool: Pool, folder: Path, due: float) -> Finding:
    """Ranks over the nodes of a block, as many as meet in two of them."""
    nodes = pool.nodes_per_block if isinstance(pool, BatchPool) else 1
    places = nodes * pool.ranks_per_node if isinstance(pool, BatchPool) else 2
    ranks = max(1, min(2, places))
    advice = (
        "launcher and MPI do not fit each other: launcher_options of pool mpi, "
        "`srun --mpi=list`, the MPI that mpi4py was built with"
    )
    try:
        asked = _ask(workers, "mpi", folder, "count_ranks", settings={"ranks": ranks})
        (answer,) = _wait(workers, asked, due)
        if answer["outcome"] != "done":
            raise Stopped(answer["message"])
    except Stopped as error:
        return Finding("mpi", "ranks", str(error), False, advice)
    met = json.loads(answer["message"])
    words = f"{met['size']} of {ranks} met, on {', '.join(met['nodes'])}"
    return Finding("mpi", "ranks", words, met["size"] == ranks, advice)
