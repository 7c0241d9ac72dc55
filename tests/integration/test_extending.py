"""What docs/extending.md tells contributors to write works as printed, and passes the laws.

In a copy of this repository its edits are applied and its packages installed; the laws run there as
a contributor runs them, on what the registries then hold. Beside the examples, twins with one line
spoilt are registered, which must fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from apps.contract import Result
from campaign.execution.parsl_config import THREAD_VARIABLES
from campaign.execution.workers import Workers
from campaign.plan.build import build_plan
from campaign.plan.stages import STAGES
from campaign.preflight import preflight
from campaign.sites.layers import read_site
from campaign.spec.model import parse_spec
from data_store.errors import InputError
from tests.e2e.tiny import TINY
from tests.unit import pages
from tests.unit.installed_package import write_package
from tests.watch import UNWATCHED

ROOT = Path(__file__).parents[2]
PAGE = (pages.DOCS / "extending.md").read_text(encoding="utf-8")
SECTIONS = pages.sections(PAGE)

PACKAGES = {"Teacher": "my_teacher", "Labeler": "my_labeler", "Potential": "my_potential"}
NAMES = {"Teacher": "rydberg", "Labeler": "emt", "Potential": "morse_pairs"}
SPOILT = {
    "Teacher": ("first = (slope", "first = 0.9 * (slope"),
    "Labeler": ("atoms.get_forces()", "-atoms.get_forces()"),
    "Potential": (" * quintic_envelope(distances / self.cutoff_A)", ""),
}
"""What is replaced in each example, and by what, to make its twin."""

LAWS = (
    "tests/laws/test_teachers.py",
    "tests/laws/test_labels.py",
    "tests/laws/test_potential.py",
    "tests/laws/test_tiers.py",
    "tests/unit/test_potential_files.py",
    "tests/unit/test_conductor.py",
)


def source(kind: str) -> str:
    return pages.blocks(SECTIONS[kind], "python")[f"{PACKAGES[kind]}.py"]


def install(folder: Path, kind: str) -> Path:
    """The package of a section, as printed."""
    module = PACKAGES[kind]
    return write_package(
        folder / module, module, pages.entry_points(SECTIONS[kind]), {f"{module}.py": source(kind)}
    )


def install_twin(folder: Path, kind: str) -> Path:
    """The package of a section with a line spoilt, under another name."""
    good, bad = SPOILT[kind]
    name, module = NAMES[kind], f"{PACKAGES[kind]}_twin"
    code = source(kind)
    assert code.count(good) == 1
    code = code.replace(good, bad).replace(f'"{name}"', f'"{name}_twin"')
    entry_points = {
        group: {
            f"{key}_twin": value.replace(PACKAGES[kind], module) for key, value in found.items()
        }
        for group, found in pages.entry_points(SECTIONS[kind]).items()
    }
    return write_package(folder / module, module, entry_points, {f"{module}.py": code})


def extended_copy(folder: Path) -> Path:
    """The repository with the strategy and the site of the page."""
    for name in ("apps", "campaign", "data_store", "site_configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, code in pages.blocks(SECTIONS["Strategy"], "python").items():
        (folder / path).write_text(code, encoding="utf-8")
    for path, edit in pages.blocks(SECTIONS["Strategy"], "diff").items():
        before = (folder / path).read_text(encoding="utf-8")
        (folder / path).write_text(pages.apply_edit(before, edit), encoding="utf-8")
    for path, text in pages.blocks(SECTIONS["Site"], "toml").items():
        (folder / "site_configs" / path).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Folder of the copy, and an environment that holds it and all packages."""
    folder = tmp_path_factory.mktemp("extended")
    copy = extended_copy(folder / "repository")
    packages = [
        make(folder, kind) for kind in PACKAGES for make in (install, install_twin)
    ]  # fmt: skip
    path = os.pathsep.join(str(found) for found in (copy, *packages))
    return copy, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def outcomes(extended: tuple[Path, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Outcome of each law by file and test, on what the page brings alone."""
    copy, environment = extended
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=found.xml",
        "-k", "rydberg or morse_pairs or emt or breathing or workstation", *LAWS,
    ]  # fmt: skip
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    print(run.stdout, run.stderr)  # shown where a law is broken
    assert (copy / "found.xml").is_file()
    found: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(copy / "found.xml").iter("testcase"):
        file = str(case.get("classname")).rpartition(".")[2]
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found.setdefault(file, {})[str(case.get("name"))] = next(iter(kinds), "passed")
    return found


def of_example(cases: dict[str, str], *, twin: bool) -> dict[str, str]:
    return {name: outcome for name, outcome in cases.items() if ("_twin" in name) == twin}


def failed(cases: dict[str, str]) -> set[str]:
    return {name.partition("[")[0] for name, outcome in cases.items() if outcome == "failure"}


def passed(cases: dict[str, str]) -> set[str]:
    return {name.partition("[")[0] for name, outcome in cases.items() if outcome == "passed"}


GRADIENT = "test_forces_are_the_gradient"


@pytest.mark.parametrize(
    ("file", "laws", "must_fail"),
    [
        (
            "test_teachers",
            {
                GRADIENT, "test_the_minimum_is_zero_and_lowest",
                "test_energies_do_not_know_where_a_molecule_is",
                "test_energies_do_not_know_the_order_of_atoms",
                "test_dynamics_has_the_temperature_asked_for",
            },
            GRADIENT,
        ),
        (
            "test_labels",
            {
                GRADIENT, "test_energy_does_not_turn",
                "test_what_it_cannot_do_is_refused_beforehand",
                "test_labels_are_kept_once_and_merged_whatever_their_grouping",
            },
            GRADIENT,
        ),
        (
            "test_potential",
            {
                GRADIENT, "test_energy_is_invariant_and_forces_turn", "test_atoms_have_no_order",
                "test_all_batches_agree", "test_far_fragments_add_up",
                "test_a_supercell_has_the_energy_of_its_cells", "test_nothing_jumps_at_the_cutoff",
                "test_what_says_it_is_traceable_is_one_sequence_of_operations",
            },
            "test_nothing_jumps_at_the_cutoff",
        ),
    ],
)  # fmt: skip
def test_the_examples_keep_the_laws_and_their_twins_do_not(
    outcomes: dict[str, dict[str, str]], file: str, laws: set[str], must_fail: str
) -> None:
    example, twin = (of_example(outcomes[file], twin=which) for which in (False, True))
    assert failed(example) == set(), example
    assert "error" not in example.values()
    assert laws <= passed(example)
    assert must_fail in failed(twin)


def test_what_has_no_pair_or_table_is_skipped_and_nothing_else(
    outcomes: dict[str, dict[str, str]],
) -> None:
    skipped = {
        name for cases in outcomes.values() for name, how in cases.items() if how == "skipped"
    }
    assert skipped
    without_pair = {name for name in outcomes["test_teachers"] if "pair" in name}
    # The page's potential takes no tables.
    takes_tables = re.compile(r"tabled?\b|once\b")
    of_tables = {name for name in outcomes["test_potential"] if takes_tables.search(name)}
    assert skipped <= without_pair | of_tables


def test_weights_strategy_and_site_keep_theirs(outcomes: dict[str, dict[str, str]]) -> None:
    assert "test_weights_round_trip_bitwise" in passed(outcomes["test_potential_files"])
    assert {"test_laws_hold", "test_a_chunk_is_filled_by_it"} == passed(outcomes["test_tiers"])
    assert "test_every_packaged_site_serves_every_stage" in passed(outcomes["test_conductor"])
    for file in ("test_tiers", "test_conductor"):
        assert set(outcomes[file].values()) == {"passed"}
    assert sum("breathing" in name for name in outcomes["test_tiers"]) >= 5


def tables(kind: str) -> dict[str, Any]:
    """The tiny campaign with what a section adds to a campaign file."""
    found = tomllib.loads(TINY)
    for table, keys in tomllib.loads(pages.blocks(SECTIONS[kind], "toml")["campaign.toml"]).items():
        found.setdefault(table, {}).update(keys)
    return found


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_campaign_that_names_it_is_ready_to_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=f"unknown .*'{NAMES[kind]}'"):
        preflight(parse_spec(tables(kind), "test", Path()))
    monkeypatch.syspath_prepend(install(tmp_path, kind))
    preflight(parse_spec(tables(kind), "test", Path()))


PRINTS = """
import json, sys, tomllib
from pathlib import Path
from campaign.plan.build import build_plan
from campaign.spec.model import parse_spec
for text in json.loads(sys.stdin.read()):
    print(*sorted(p.fingerprint for p in build_plan(parse_spec(text, "test", Path())).parts))
"""


def test_a_new_strategy_changes_the_campaigns_that_name_it_alone(
    extended: tuple[Path, dict[str, str]],
) -> None:
    copy, environment = extended
    without, named = tomllib.loads(TINY), tomllib.loads(TINY)
    added = tomllib.loads(pages.blocks(SECTIONS["Strategy"], "toml")["campaign.toml"])
    named["sampling"]["tiers"] |= added["sampling"]["tiers"]
    run = subprocess.run(
        [sys.executable, "-c", PRINTS], cwd=copy, env=environment, text=True, check=True,
        input=json.dumps([without, named]), capture_output=True,
    )  # fmt: skip
    same, changed = (set(line.split()) for line in run.stdout.splitlines())
    here = build_plan(parse_spec(without, "test", Path()))
    assert same == {part.fingerprint for part in here.parts}
    assert not changed & {part.fingerprint for part in here.of("sample")}


def environment_of(request: dict[str, Any]) -> dict[str, Any]:
    """Task: the environment variables that a site sets."""
    names = (*THREAD_VARIABLES, "CUDA_VISIBLE_DEVICES")
    return Result("done", message=str({n: os.environ.get(n, "") for n in names})).to_json()


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = tmp_path / "workstation.toml"
    path.write_text(pages.blocks(SECTIONS["Site"], "toml")[path.name], encoding="utf-8")
    site = read_site(str(path))
    assert {site.pool_of(stage.role) for stage in STAGES.values()} == {"cpu", "gpu"}
    with Workers(site, tmp_path, tmp_path / "parsl", UNWATCHED) as running:
        yield running


def test_each_pool_of_the_site_has_the_environment_it_says(
    workers: Workers, tmp_path: Path
) -> None:
    for pool, threads, device in (("cpu", 1, ""), ("gpu", 2, "0")):
        future = workers.submit(
            pool, f"{__name__}:environment_of", [{}], [str(tmp_path / f"{pool}.json")]
        )
        (answer,) = future.result(timeout=120)
        expected = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"CUDA_VISIBLE_DEVICES": device}
        assert answer["message"] == str(expected)


def test_the_page_has_all_six() -> None:
    assert list(SECTIONS) == ["Teacher", "Labeler", "Potential", "Criterion", "Strategy", "Site"]


def test_contributing_leads_to_it() -> None:
    assert "docs/extending.md" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_an_edit_whose_context_is_gone_is_caught() -> None:
    assert pages.apply_edit("a\nb\nc\n", " b\n+x\n") == "a\nb\nx\nc\n"
    assert pages.apply_edit("a\nb\n", "-a\n+x\n@@\n b\n+y\n") == "x\nb\ny\n"
    for source_text in ("a\nc\n", "b\nb\n"):
        with pytest.raises(ValueError, match="not once"):
            pages.apply_edit(source_text, " b\n+x\n")
