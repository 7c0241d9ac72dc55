"""A site file for the private cluster: short waits, one-minute walltimes if asked for."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_site"]

SITE = """
[site]
name = "private"
scheduler = "slurm"
address = "127.0.0.1"
start_up_s = 5
grace_s = 10
least_useful_s = 5
poll_s = 1
silence_s = 10
idle_s = 20
command_timeout_s = 60
submissions_per_hour = 200

[pools.cpu]
partition = "debug"
max_blocks = {blocks}
walltime = "{walltime}"
workers_per_node = 1
exclusive = {exclusive}

[pools.mpi]
partition = "debug"
nodes_per_block = 2
walltime = "{walltime}"
workers_per_node = 1
exclusive = false
launcher_options = "--mpi=pmi2 --overlap"
"""


def write_site(
    folder: Path, *, walltime: str = "10", blocks: int = 2, exclusive: bool = False
) -> Path:
    """Site file of the private cluster, where two nodes are a block of pool mpi.

    Parameters
    ----------
    folder : Path
    walltime : str
    blocks : int
        Of the pool cpu.
    exclusive : bool
        Whether each of those has a node to itself.
    """
    path = folder / "private.toml"
    text = SITE.format(walltime=walltime, blocks=blocks, exclusive=str(exclusive).lower())
    path.write_text(text, encoding="utf-8")
    return path
