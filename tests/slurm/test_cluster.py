"""The private cluster does what tests on it rely on: jobs, fake GPUs, MPI, faults, a clean end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm import installation
from tests.slurm.cluster import Cluster
from tests.slurm.processes import daemons, job_processes, kill, name_of
from tests.slurm.waiting import wait_until

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]

WORLD = (
    f"{sys.executable} -c 'from mpi4py.MPI import COMM_WORLD as world; import os;"
    ' print(world.size, world.rank, os.environ["SLURMD_NODENAME"])\''
)


def wait_for_process(cluster: Cluster, job: str, name: str = "sleep") -> None:
    """Wait until a job runs a program."""

    def names() -> list[str]:
        return [name_of(process) for process in cluster.processes_of(job)]

    wait_until(lambda: name in names(), f"{name} in job {job}", names)


def wait_for_output(cluster: Cluster, job: str) -> str:
    """Wait until a job has written a line; its last."""
    wait_until(lambda: cluster.output(job).endswith("\n"), "written", cluster.jobs)
    return cluster.output(job).splitlines()[-1]


def test_jobs_run_beside_each_other_on_nodes_of_their_own(slurm: Cluster) -> None:
    jobs = [slurm.submit("sleep 1000", "--exclusive", f"--job-name=a|{n}") for n in range(3)]
    seen = [slurm.wait_for(job, "RUNNING") for job in jobs]
    assert len({job.nodes for job in seen}) == 3
    assert [job.name for job in seen] == ["a|0", "a|1", "a|2"]
    for job in seen:
        wait_for_process(slurm, job.id, "sleep")
        assert slurm.processes_of(job.id) == slurm.processes_of(job.id, *job.nodes)
    slurm.cancel(jobs[0])
    slurm.wait_for(jobs[0], "CANCELLED")
    assert {job.id for job in slurm.jobs()} == set(jobs[1:])


def test_a_job_on_all_nodes_names_them(slurm: Cluster) -> None:
    job = slurm.wait_for(slurm.submit("sleep 1000", "--nodes=4"), "RUNNING")
    assert job.nodes == ("n1", "n2", "n3", "n4")


def test_commands_of_a_test_talk_to_the_cluster(slurm: Cluster) -> None:
    """They find it by the environment alone."""
    answer = subprocess.run(
        ["sinfo", "-h", "-o", "%P %l %D %G"], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert [row[:3] for row in rows] == [
        ["debug*", "infinite", "4"], ["shared", "infinite", "4"], ["short", "2:00", "4"],
        ["urgent", "infinite", "4"],
    ]  # fmt: skip
    assert {row[3] for row in rows} == {"gpu:fake:4"}


@pytest.mark.parametrize(("wanted", "seen"), [(0, "none"), (2, "0,1"), (4, "0,1,2,3")])
def test_fake_gpus_are_given_out(slurm: Cluster, wanted: int, seen: str) -> None:
    shown = 'echo "${CUDA_VISIBLE_DEVICES:-none}"'
    job = slurm.submit(shown, f"--gpus-per-node={wanted}")
    assert wait_for_output(slurm, job) == seen


def test_two_jobs_on_a_node_get_different_gpus(slurm: Cluster) -> None:
    shown = "echo $CUDA_VISIBLE_DEVICES; sleep 1000"
    jobs = [slurm.submit(shown, "--gpus-per-node=2", "--nodelist=n1") for _ in range(2)]
    assert {wait_for_output(slurm, job) for job in jobs} == {"0,1", "2,3"}


def test_more_gpus_than_a_node_has_are_refused(slurm: Cluster) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        slurm.submit("true", "--gpus-per-node=5")
    assert "node configuration is not available" in "".join(refused.value.__notes__)


def test_the_shared_partition_puts_four_jobs_on_a_core(slurm: Cluster) -> None:
    whole = ("--nodelist=n1", "--cpus-per-task=8")
    jobs = [slurm.submit("sleep 1000", "--partition=shared", *whole) for _ in range(5)]
    for job in jobs[:4]:
        slurm.wait_for(job, "RUNNING")
    assert slurm.job(jobs[4]).state == "PENDING"


def ranks(slurm: Cluster, mpi: str) -> set[tuple[int, int, str]]:
    lines = slurm.ask(
        "srun", f"--mpi={mpi}", "--nodes=2", "--ntasks=2", "--nodelist=n1,n2",
        "sh", "-c", f"exec {WORLD}",
    )  # fmt: skip
    rows = [line.split() for line in lines]
    return {(int(size), int(rank), node) for size, rank, node in rows}


def test_pmi2_makes_one_world_of_two_nodes(slurm: Cluster) -> None:
    assert ranks(slurm, "pmi2") == {(2, 0, "n1"), (2, 1, "n2")}


def test_without_it_every_rank_is_alone(slurm: Cluster) -> None:
    """The known-bad twin: no error, and each takes itself for the whole."""
    assert ranks(slurm, "none") == {(1, 0, "n1"), (1, 0, "n2")}


def test_a_node_that_goes_down_takes_its_jobs_with_it(slurm: Cluster) -> None:
    job, other = (
        slurm.submit("sleep 1000", "--no-requeue", f"--nodelist={n}") for n in ("n1", "n2")
    )
    for running in (job, other):
        slurm.wait_for(running, "RUNNING")
    wait_for_process(slurm, job)
    slurm.down("n1")
    slurm.wait_for(job, "NODE_FAIL")
    wait_until(lambda: not slurm.processes_of(job), "ended", lambda: slurm.processes_of(job))
    assert slurm.job(other).state == "RUNNING"


def test_a_requeued_job_waits_and_runs_again(slurm: Cluster) -> None:
    counted = "echo ${SLURM_RESTART_COUNT:-0}; sleep 1000"
    job = slurm.submit(counted, "--requeue", "--open-mode=append")
    slurm.wait_for(job, "RUNNING")
    assert wait_for_output(slurm, job) == "0"
    slurm.requeue(job)
    assert slurm.wait_for(job, "PENDING").reason == "BeginTime"
    slurm.begin_now(job)
    slurm.wait_for(job, "RUNNING")
    wait_until(lambda: wait_for_output(slurm, job) == "1", "begun again", slurm.jobs)


def test_an_urgent_job_takes_the_node_of_another_for_good(slurm: Cluster) -> None:
    job = slurm.submit("sleep 1000", "--no-requeue")
    slurm.wait_for(job, "RUNNING")
    wait_for_process(slurm, job)
    beside = slurm.submit("sleep 1000", "--nodelist=n4")
    slurm.wait_for(beside, "RUNNING")
    slurm.preempt(job)
    assert slurm.job(job).state == "PREEMPTED"
    assert slurm.job(beside).state == "RUNNING"


def test_a_held_job_waits_until_it_is_released(slurm: Cluster) -> None:
    slurm.drain()
    job = slurm.submit("sleep 1000")
    slurm.hold(job)
    for node in slurm.names:
        slurm.resume(node)
    slurm.wait_until_idle()
    assert (slurm.job(job).state, slurm.job(job).reason) == ("PENDING", "JobHeldAdmin")
    slurm.release(job)
    slurm.wait_for(job, "RUNNING")


@pytest.mark.long
def test_a_silent_node_is_given_up_while_its_processes_run_on(slurm: Cluster) -> None:
    job = slurm.submit("sleep 1000", "--no-requeue", "--nodelist=n1")
    slurm.wait_for(job, "RUNNING")
    wait_for_process(slurm, job)
    slurm.kill_slurmd("n1")
    wait_until(lambda: slurm.states()["n1"] == "down*", "down", slurm.states)
    assert slurm.job(job).state == "NODE_FAIL"
    assert slurm.processes_of(job, "n1"), "nobody told them"
    slurm.start_slurmd("n1")
    slurm.wait_until_idle()


def test_a_second_cluster_leaves_nothing_behind(cluster: Cluster, tmp_path: Path) -> None:
    with Cluster(tmp_path, nodes=1, gpus=0) as second:
        job = second.submit("trap '' TERM; sleep 1000 & wait")
        wait_for_process(second, job)
        for name in ("munged", "slurmctld", "slurmd", "slurmstepd"):
            assert daemons(second.conf, name), name
        assert list(second.sockets.glob("munge.sock"))
        assert list(second.sockets.glob("n1/n1_*")), "the step listens where sockets are short"
    assert not daemons(second.conf)
    assert not job_processes(second.conf)
    assert not second.sockets.exists()
    assert set(cluster.states().values()) == {"idle"}, "the first is as it was"


@pytest.mark.parametrize("victims", [{"slurmctld"}, {"slurmd", "munged"}])
def test_a_cluster_that_lost_its_daemons_is_stopped(tmp_path: Path, victims: set[str]) -> None:
    installation.require_slurm()
    second = Cluster(tmp_path, nodes=2)
    with pytest.raises(ZeroDivisionError):
        lose(second, victims)
    assert not daemons(second.conf)
    assert not job_processes(second.conf)
    assert not second.sockets.exists()


def lose(cluster: Cluster, victims: set[str]) -> None:
    """Kill some of a cluster's daemons in the middle of a job, and fail."""
    with cluster:
        wait_for_process(cluster, cluster.submit("sleep 1000"))
        kill(daemons(cluster.conf, *victims))
        raise ZeroDivisionError


def test_it_ends_with_the_process_that_had_it_though_that_was_killed(tmp_path: Path) -> None:
    installation.require_slurm()
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT)
    second = Cluster(tmp_path, nodes=1)
    try:
        wait_until(lambda: bool(job_processes(second.conf)), "started", owner.poll)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_until(lambda: not daemons(second.conf), "ended", lambda: daemons(second.conf))
        wait_until(lambda: not second.sockets.exists(), "removed")
        assert not job_processes(second.conf)
    finally:
        owner.kill()
        second.stop()


OWNER = """
import sys, time
from pathlib import Path
from tests.slurm.cluster import Cluster
with Cluster(Path(sys.argv[1]), nodes=1) as cluster:
    cluster.submit("sleep 1000")
    time.sleep(1000)
"""


def test_by_hand_a_cluster_outlives_the_command(tmp_path: Path) -> None:
    installation.require_slurm()
    command = [sys.executable, "-m", "tests.slurm.cluster"]
    with_nodes = [*command, "start", str(tmp_path), "--nodes=1"]
    second = Cluster(tmp_path, nodes=1)
    try:
        for _ in range(2):  # what the first start left is ended by the second
            said = subprocess.run(with_nodes, cwd=ROOT, capture_output=True, text=True, check=True)
            assert said.stdout == f"export SLURM_CONF={second.conf}\n"
            assert len(daemons(second.conf, "slurmctld")) == 1
        assert second.states() == {"n1": "idle"}
        subprocess.run([*command, "stop", str(tmp_path)], cwd=ROOT, check=True)
        assert not daemons(second.conf)
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("ci", "ending"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_slurm_tests_are_skipped_but_not_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, ci: str, ending: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name == "slurmd" else name)
    with pytest.raises(ending, match="there is no slurmd"):
        installation.require_slurm()


@pytest.mark.parametrize(
    ("folder", "gpus", "why"), [("here", 4, "absolute path"), ("/tmp/x", 7, "at most 6")]
)
def test_what_no_cluster_can_be_is_refused(folder: str, gpus: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Cluster(Path(folder), gpus=gpus)


def test_a_wait_that_is_in_vain_says_what_is_there_instead() -> None:
    with pytest.raises(TimeoutError, match="not yet idle; found: down"):
        wait_until(lambda: False, "idle", lambda: "down", patience_s=0.0)


def test_only_what_is_on_a_node_is_of_the_cluster(slurm: Cluster) -> None:
    """A client with the same configuration is not, even one in a job of another cluster."""
    client = subprocess.Popen(["sleep", "1000"], env=os.environ | {"SLURM_JOB_ID": "1"})
    try:
        found = [*daemons(slurm.conf), *job_processes(slurm.conf)]
        assert client.pid not in {process.pid for process in found}
    finally:
        client.kill()
        client.wait()
