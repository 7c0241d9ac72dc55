"""Where criteria come from: built in, or from packages that a test installs on the path."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from apps.dynamics.criteria import first_failure, judges
from apps.dynamics.criteria_records import BUILT_IN, Criterion
from apps.dynamics.criteria_registry import (
    criterion_names,
    criterion_rows,
    find_criterion,
    in_order,
)
from apps.dynamics.integrators import PhasePoint
from apps.dynamics.settings import DynamicsSettings
from campaign.preflight import preflight
from campaign.spec.model import parse_spec
from data_store.errors import InputError
from tests.e2e.tiny import TINY
from tests.laws.dynamics_systems import CHAIN, MASSES, watched
from tests.laws.test_criteria import LAWS
from tests.unit import pages
from tests.unit.installed_package import write_package

PAGE = (pages.DOCS / "criteria.md").read_text(encoding="utf-8")

RECORD = """
from apps.dynamics.criteria_records import Criterion
FOUND = Criterion("{name}", "It is so.", "Å", "", "{threshold}", "{function}")
"""


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package, for the time of the test."""

    def installer(
        name: str, entry_points: dict[str, str], modules: dict[str, str] | None = None
    ) -> Path:
        brought = {"campaign.criteria": entry_points}
        folder = write_package(tmp_path / name, name, brought, modules)
        monkeypatch.syspath_prepend(folder)
        return folder

    return installer


def one(name: str, function: str = "apps.dynamics.criteria:hot", threshold: str = "x") -> str:
    return RECORD.format(name=name, function=function, threshold=threshold)


def refusal(*names: str) -> str:
    with pytest.raises(ValidationError) as error:
        DynamicsSettings(criteria=("not_finite", *names))
    return str(error.value)


def test_the_page_works_as_written(install: Install) -> None:
    """Its package is installed, its campaign read, its function run; its atom is named."""
    folder = install(
        "my-criteria", pages.entry_points(PAGE)["campaign.criteria"], pages.blocks(PAGE, "python")
    )
    campaign = tomllib.loads(pages.blocks(PAGE, "toml")["campaign.toml"])
    settings = DynamicsSettings(**campaign["dynamics"])
    assert settings.criteria == ("not_finite", "bond_stretch", "fly_off")
    assert criterion_names() == (*BUILT_IN, "fly_off")
    x = CHAIN.repeat(3, 1, 1)
    x[1, 3, 2] += 200.0
    x[2, 2, 0] = torch.nan
    point = PhasePoint(x, 0 * x, 0 * x, torch.zeros(3).double())
    free = watched(MASSES, bonds=torch.zeros((0, 2), dtype=torch.int64))
    cause, value, atoms = first_failure(point, free, settings)
    assert [settings.criteria[c] if c >= 0 else None for c in cause.tolist()] == [
        None, "fly_off", "not_finite"
    ]  # fmt: skip
    assert atoms[1].tolist() == [3, -1]
    mean = (MASSES[:, None] * x[1]).sum(0) / MASSES.sum()
    assert float(value[1]) == pytest.approx(float((x[1, 3] - mean).norm()))
    *_, row = criterion_rows(settings)
    assert (row.name, row.threshold, row.unit) == ("fly_off", "> 15 Å", "Å")
    assert loaded_by(folder, "'not_finite', 'fly_off'") == []
    for law, _ in LAWS.values():
        law(find_criterion("fly_off").judge())


def loaded_by(folder: Path, names: str) -> list[str]:
    """Heavy modules that a process has loaded after asking for the rows of criteria."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from apps.dynamics.settings import DynamicsSettings\n"
        "from apps.dynamics.criteria_registry import criterion_rows\n"
        f"rows = criterion_rows(DynamicsSettings(criteria=({names}), ensemble='nve'))\n"
        "assert all(row.definition and row.threshold for row in rows)\n"
        "print(*[m for m in ('torch', 'openmm', 'rdkit', 'pyscf', 'ase') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_what_a_report_shows_loads_no_torch(tmp_path: Path) -> None:
    assert loaded_by(tmp_path, ", ".join(map(repr, BUILT_IN))) == []


def test_the_look_for_torch_can_fail(install: Install) -> None:
    folder = install(
        "weighty", {"weighty": "weighty:FOUND"}, {"weighty.py": "import torch\n" + one("weighty")}
    )
    assert loaded_by(folder, "'not_finite', 'weighty'") == ["torch"]


def test_rows_hold_the_thresholds_of_the_campaign() -> None:
    settings = DynamicsSettings(
        criteria=tuple(BUILT_IN), stretch_A=0.37, contact_HH_A=0.41, contact_fraction=0.6,
        max_force_eV_per_A=55.0, hot_tail=1e-9, ensemble="nve", valence_fs=40.0,
        drift_eV_per_atom=0.03, dissociation_A=12.5, energy_below_eV_per_atom=0.3,
    )  # fmt: skip
    rows = {row.name: row for row in criterion_rows(settings)}
    assert tuple(rows) == tuple(BUILT_IN)
    for name, part in (
        ("bond_stretch", "0.37 Å"),
        ("close_contact", "0.6 ×"),
        ("close_contact", "0.41 Å"),
        ("large_force", "55 eV/Å"),
        ("hot", "1e-09"),
        ("mdsim", "> 0.5 Å"),
        ("stable", "≥ 0.5 Å"),
        ("valence", "for 40 fs"),
        ("energy_runaway", "− 0.3 eV/atom"),
        ("nve_drift", "> 0.03 eV/atom"),
        ("dissociated", "> 12.5 Å"),
    ):
        assert part in rows[name].threshold


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_record_is_a_sentence_with_a_source(name: str) -> None:
    record = BUILT_IN[name]
    assert record.name == name
    assert re.fullmatch(r"[A-Z][^.]*(\d\.\d[^.]*)*\.", record.definition), "one sentence"
    assert re.fullmatch(r"(doi:10\.\d{4,}/\S+|arXiv:\d{4}\.\d{5})?", record.reference)
    assert record.reference or "published" not in record.function
    assert record.judge().__name__ == name


def test_plug_ins_come_after_built_in_ones_by_name(install: Install) -> None:
    install("later", {"zeta": "zeta:FOUND", "alpha": "alpha:FOUND"})
    install("sooner", {"mid": "mid:FOUND"})
    assert criterion_names() == (*BUILT_IN, "alpha", "mid", "zeta")
    assert in_order(["zeta", "mlipaudit", "mid", "not_finite", "alpha"]) == (
        "not_finite", "mlipaudit", "alpha", "mid", "zeta"
    )  # fmt: skip


def test_names_are_known_without_importing_anything(install: Install) -> None:
    install("absent", {"absent": "no_such_module:FOUND"})
    assert DynamicsSettings(criteria=("absent", "not_finite")).criteria[-1] == "absent"


def test_unknown_names_are_refused_with_the_nearest(install: Install) -> None:
    install("nearby", {"ring_opened": "nearby:FOUND"})
    assert "unknown criterion 'bond_strech'" in refusal("bond_strech")
    assert "did you mean 'bond_stretch'" in refusal("bond_strech")
    assert "did you mean 'ring_opened'" in refusal("ring_open")
    assert "mlipaudit" in refusal("xyzzy"), "valid ones are listed"
    with pytest.raises(InputError, match="unknown criterion"):
        find_criterion("xyzzy")


def test_a_built_in_name_cannot_be_taken_over(install: Install) -> None:
    install("usurper", {"hot": "usurper:FOUND"}, {"usurper.py": one("hot", threshold="mine")})
    assert criterion_names() == tuple(BUILT_IN)
    assert find_criterion("hot") is BUILT_IN["hot"]
    assert "mine" not in {row.threshold for row in criterion_rows(DynamicsSettings())}


def test_two_packages_of_one_criterion_are_both_named(install: Install) -> None:
    install("first-lab", {"twice": "first_lab:FOUND"}, {"first_lab.py": one("twice")})
    install("second-lab", {"twice": "second_lab:FOUND", "once": "second_lab:ONCE"})
    for text in (refusal("twice"), _error(lambda: find_criterion("twice"))):
        assert "first-lab 1.0" in text
        assert "second-lab 1.0" in text
    assert DynamicsSettings(criteria=("not_finite", "once")).criteria[-1] == "once"


def _error(what: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        what()
    return str(error.value)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("raise RuntimeError('no CUDA here')", "no CUDA here"),
        ("syntax error", "SyntaxError"),
        ("x = 1", "has no attribute 'FOUND'"),
        ("FOUND = 3", "expected a Criterion"),
        (one("other"), "expected a Criterion of that name"),
        (one("Not A Name"), "lower-case"),
        (one("broken").replace("It is so.", ""), "no definition"),
    ],
)
def test_a_broken_plug_in_raises_when_asked_for_and_only_then(
    install: Install, tmp_path: Path, module: str, expected: str
) -> None:
    source = tmp_path.name
    install("broken-lab", {"broken": f"{source}:FOUND"}, {f"{source}.py": module})
    assert "broken" in criterion_names()
    settings = DynamicsSettings(criteria=tuple(BUILT_IN), ensemble="nve")
    assert len(criterion_rows(settings)) == len(judges(settings.criteria)) == len(BUILT_IN)
    named = DynamicsSettings(criteria=("not_finite", "broken"))
    for ask in (lambda: criterion_rows(named), lambda: judges(named.criteria)):
        text = _error(ask)
        assert expected in text
        assert "broken-lab 1.0" in text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (one("unusable", function="gone:f"), "cannot load 'gone:f'"),
        (one("unusable", function="apps.dynamics.criteria:gone"), "gone"),
        (one("unusable", threshold="> {strech_A:g} Å"), "strech_A"),
    ],
)
def test_preflight_loads_what_the_campaign_names(
    install: Install, tmp_path: Path, source: str, expected: str
) -> None:
    module = tmp_path.name
    install("unusable-lab", {"unusable": f"{module}:FOUND"}, {f"{module}.py": source})
    tables = tomllib.loads(TINY)
    preflight(parse_spec(tables, "test", Path()))
    tables["dynamics"]["criteria"] = ["not_finite", "unusable"]
    assert expected in _error(lambda: preflight(parse_spec(tables, "test", Path())))


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        BUILT_IN["hot"].name = "cold"  # type: ignore[misc]
    assert isinstance(BUILT_IN["hot"], Criterion)
