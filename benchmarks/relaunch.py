"""How long a relaunch takes to its first submission when very many parts are finished.

Usage, from the root of the repository::

    python -m benchmarks.relaunch FOLDER [PARTS] [RUNS]

In FOLDER, on the file system that is asked about, a workspace is built in which PARTS chunks of the
quickstart's teacher are made and nothing else: one chunk is really made, the others are its files
under other fingerprints (hard links: 22 files and 24 folders each), with two lines of ledger each.
Then `campaign launch` is run and stopped as soon as the ledger tells of a submission. Printed:
seconds from the start of the process, its CPU seconds till then, and its memory, as median over
runs and spread. The first submission is that of the candidates for labels; with the argument
``--all-needed`` they are made before, and the first is the pre-training, which is made of all
PARTS, so that all of them are glanced at before. FOLDER is kept, and used again where it is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from campaign.campaign import Campaign
from campaign.plan.items import PlannedPart
from data_store.parts import part_path

CHUNK = 1280
LINKS = 50_000
"""Names of one file: a file system may allow no more than 65,000."""


def _campaign(folder: Path, chunks: int) -> Campaign:
    settings = {"sampling.chunk_structures": CHUNK, "sampling.structures": CHUNK * chunks}
    return Campaign.from_template("quickstart", folder).with_settings(settings)


def build(folder: Path, chunks: int) -> Campaign:
    """A workspace with so many finished chunks."""
    _campaign(folder, 1).launch(until="sample")
    campaign = _campaign(folder, chunks)
    first, *others = campaign.plan().of("sample")
    root = campaign.workspace.parts
    source = part_path(root, "sample", first.fingerprint)
    folders = sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.is_dir())
    files = [str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()]
    files.remove("manifest.json")
    manifest = (source / "manifest.json").read_text(encoding="utf-8")
    told = _told(campaign, first)
    with campaign.workspace.ledger.open("a", encoding="utf-8") as ledger:
        for number, part in enumerate(others):
            target = part_path(root, "sample", part.fingerprint)
            target.mkdir()
            for name in folders:
                (target / name).mkdir()
            for name in files:
                if number % LINKS:
                    (target / name).hardlink_to(source / name)
                else:
                    shutil.copyfile(source / name, target / name)
            source = target if number % LINKS == 0 else source
            text = manifest.replace(first.fingerprint, part.fingerprint)
            (target / "manifest.json").write_text(text, encoding="utf-8")
            ledger.write(told.replace(first.fingerprint, part.fingerprint))
    return campaign


def _told(campaign: Campaign, part: PlannedPart) -> str:
    """What the ledger tells of a part that was made: its submission and its result."""
    with campaign.workspace.ledger.open(encoding="utf-8") as ledger:
        return "".join(line for line in ledger if part.fingerprint in line)


def relaunch(campaign: Campaign) -> tuple[float, float, float]:
    """Wall and CPU seconds to the first submission, and MB."""
    ledger = campaign.workspace.ledger
    size = ledger.stat().st_size
    arguments = [f"--set={key}={value}" for key, value in campaign.settings.items()]
    code = "from campaign.cli.main import main; main()"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "launch", str(campaign.file.parent), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with ledger.open("rb") as told:
        while process.poll() is None:
            told.seek(size)
            if b'"event": "submitted"' in told.read():
                break
            time.sleep(0.01)
    wall_s = time.perf_counter() - began
    proc = Path("/proc") / str(process.pid)
    used = (proc / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    status = (proc / "status").read_text(encoding="ascii").splitlines()
    memory_kB = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    process.send_signal(signal.SIGTERM)
    if process.wait() != 3:
        raise RuntimeError("the launch was not stopped, but ended")
    cpu_s = sum(map(int, used)) / os.sysconf("SC_CLK_TCK")
    return wall_s, cpu_s, int(memory_kB) / 1024


def main(arguments: list[str]) -> None:
    """Build where that is needed, relaunch and print."""
    all_needed = "--all-needed" in arguments
    given = [a for a in arguments if not a.startswith("--")]
    folder, parts, runs = ([*given, *["", "100000", "5"][len(given) :]])[:3]
    if not folder:
        raise SystemExit(__doc__)
    there = (Path(folder) / "workspace").exists()
    campaign = (_campaign if there else build)(Path(folder), int(parts))
    if all_needed:
        campaign.launch(until="select")
    rows = [relaunch(campaign) for _ in range(int(runs))]
    names = ("first submission after, s", "of CPU time, s", "driver's memory, MB")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        found = sorted(values)
        sys.stdout.write(
            f"{name}: {statistics.median(found):.1f} ({found[0]:.1f} to {found[-1]:.1f})\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
