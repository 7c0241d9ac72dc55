"""Task functions that fail in every way a real one can, on demand; run by real Parsl workers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.contract import Request, Result
from data_store.columns import Column
from data_store.errors import InputError, MethodError, WorkspaceError
from data_store.parts import write_part
from data_store.work import save_item


def _attempt(req: Request) -> int:
    """How many attempts were made before this one."""
    folder = req.work_dir / "attempts"
    folder.mkdir(parents=True, exist_ok=True)
    count = len(list(folder.iterdir()))
    (folder / str(count)).touch()
    return count


def make(request: dict[str, Any]) -> dict[str, Any]:
    """Do what ``settings["does"]`` says, for as many attempts as ``settings["times"]`` says.

    On the node of a cluster that ``settings["on"]`` names, or everywhere.
    """
    req = Request.from_json(request)
    here = os.environ.get("SLURMD_NODENAME") == req.settings.get("on") or "on" not in req.settings
    time.sleep(0.0 if "on" in req.settings and here else req.settings.get("seconds", 0.0))
    does, times = req.settings.get("does", "part"), req.settings.get("times", 10**6)
    if here and _attempt(req) < times:
        if does in {"continue", "lost"}:
            return Result(does, message="on purpose").to_json()
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if does in {"method", "input", "workspace", "software"}:
            kinds = {"method": MethodError, "input": InputError, "workspace": WorkspaceError}
            raise kinds.get(does, RuntimeError)(f"a {does} failure")
    return _done(req)


def _done(req: Request) -> dict[str, Any]:
    total = sum(part.read("value", "")[0] for part in req.input_parts("needs"))
    column = Column(np.array([req.settings.get("value", 0) + total]))
    part = write_part(Path(req.parts_root), req.stage, req.fingerprint, {"value": column}, {})
    return Result.done(part).to_json()


def made_out_of_sight(request: dict[str, Any]) -> dict[str, Any]:
    """Say "done" at once; what was made comes into sight after ``settings["hidden_s"]`` seconds.

    So it is with the attribute caching of a shared file system. The part and the items are made in
    another folder, from which a process of its own moves them into place; those that are to stay
    hidden for as often as ``settings["times"]`` says are not moved.
    """
    req = Request.from_json(request)
    hidden = Path(req.work_root) / "hidden" / f"{req.fingerprint}-{_attempt(req)}"
    aside = replace(req, parts_root=str(hidden / "parts"), work_root=str(hidden / "work"))
    answer = item(aside.to_json()) if "indices" in req.key else _done(aside)
    if _attempt(req) > 2 * req.settings.get("times", 0):
        moved = "".join(
            f"mkdir -p {root} && cp -al {hidden / name}/. {root}/; "
            for name, root in (("parts", req.parts_root), ("work", req.work_root))
            if (hidden / name).exists()
        )
        subprocess.Popen(["sh", "-c", f"sleep {req.settings['hidden_s']}; {moved}"])
    return answer


def continued(request: dict[str, Any]) -> dict[str, Any]:
    """Work for ``settings["seconds"]`` in all, over as many deadlines as it takes."""
    req = Request.from_json(request)
    kept = req.work_dir / "worked_s"
    worked_s = float(kept.read_text()) if kept.exists() else 0.0
    while worked_s < req.settings["seconds"] and not req.out_of_time():
        time.sleep(0.25)
        worked_s += 0.25
    req.work_dir.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(worked_s))
    return _done(req) if worked_s >= req.settings["seconds"] else Result("continue").to_json()


def item(request: dict[str, Any]) -> dict[str, Any]:
    """Make items; the worker dies once at the item ``settings["dies_at"]``."""
    req = Request.from_json(request)
    for index in req.key["indices"]:
        died = req.work_dir / "died"
        if index == req.settings.get("dies_at") and not died.exists():
            died.parent.mkdir(parents=True, exist_ok=True)
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        save_item(req.work_dir, f"{index:06d}", {"value": np.array([index])}, {"pid": os.getpid()})
    return Result("done", counts={"items": float(len(req.key["indices"]))}).to_json()


def together(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make all parts at once; with block ``settings["poison"]`` the worker dies, or all fail."""
    reqs = [Request.from_json(request) for request in requests]
    poison, does = reqs[0].settings.get("poison"), reqs[0].settings.get("does")
    if any(req.key["block"] == poison for req in reqs):
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("a poisoned batch")
    made = [_done(req) for req in reqs]
    return [{**answer, "counts": {"together": float(len(reqs))}} for answer in made]


def alone(request: dict[str, Any]) -> dict[str, Any]:
    """Make one part."""
    return _done(Request.from_json(request))


def hungry(request: dict[str, Any]) -> dict[str, Any]:
    """Run out of memory where more than ``settings["room"]`` are at it, as numpy would say it."""
    req = Request.from_json(request)
    eating = Path(req.work_root) / "eating"
    eating.mkdir(parents=True, exist_ok=True)
    mine = eating / req.fingerprint
    mine.touch()
    try:
        for _ in range(10):
            time.sleep(0.05)
            if len(list(eating.iterdir())) > req.settings["room"]:
                raise MemoryError("Unable to allocate 8.00 TiB")
    finally:
        mine.unlink()
    return _done(req)
