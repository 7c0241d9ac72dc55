"""What holds for teachers, labelers and potentials that packages bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from apps.labeling.labeler import labeler_names, make_labeler
from apps.labeling.settings import MethodSettings
from apps.potential.registry import make_potential, potential_names
from apps.sampling.molecule import molecule_from_smiles
from apps.sampling.teacher import choose_teacher, force_field_names, make_teacher
from data_store.errors import InputError
from tests.unit.installed_package import write_package


@dataclass(frozen=True)
class Registry:
    """A group of entry points: what it has, how it is asked, and a module that fits it."""

    group: str
    built_in: str
    names: Callable[[], tuple[str, ...]]
    ask: Callable[[str], object]
    source: str


REGISTRIES = {
    "teachers": Registry(
        "campaign.teachers", "uff", force_field_names,
        lambda name: make_teacher(name, molecule_from_smiles("O")),
        "from apps.sampling.teacher import TEACHERS\nFOUND = TEACHERS['uff']",
    ),
    "labelers": Registry(
        "campaign.labelers", "pyscf", labeler_names,
        lambda name: make_labeler(MethodSettings(labeler=name)),
        "def FOUND(settings):\n    return settings",
    ),
    "potentials": Registry(
        "campaign.potentials", "painn", potential_names,
        lambda name: make_potential(name, "small", [1, 8], 4.0, 0),
        "from apps.potential.painn import PaiNN\n"
        "def FOUND(*given):\n"
        "    made = PaiNN(*given)\n"
        "    made.architecture = 'good'\n"
        "    return made",
    ),
}  # fmt: skip
each_registry = pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)

Bring = Callable[..., None]


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Install a package that registers one name, for the time of the test."""

    def installer(registry: Registry, package: str, name: str, source: str | None = None) -> None:
        module = f"{tmp_path.name}_{package}"
        folder = write_package(
            tmp_path / package, package, {registry.group: {name: f"{module}:FOUND"}},
            {f"{module}.py": registry.source if source is None else source},
        )  # fmt: skip
        monkeypatch.syspath_prepend(folder)

    return installer


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        ask()
    return str(error.value)


@each_registry
def test_a_name_of_a_package_is_found_and_an_unknown_one_lists_it(
    registry: Registry, bring: Bring
) -> None:
    before = registry.names()
    bring(registry, "lab", "good")
    assert registry.names() == (*before, "good")
    assert registry.ask("good")
    text = refusal(lambda: registry.ask("goood"))
    assert "did you mean 'good'" in text
    assert registry.built_in in text


@each_registry
def test_a_built_in_name_cannot_be_taken_over(registry: Registry, bring: Bring) -> None:
    before, usual = registry.names(), type(registry.ask(registry.built_in))
    bring(registry, "usurper", registry.built_in, "raise RuntimeError('taken over')")
    assert registry.names() == before
    assert type(registry.ask(registry.built_in)) is usual


@each_registry
def test_two_packages_of_one_name_are_both_named(registry: Registry, bring: Bring) -> None:
    for package in ("first", "second"):
        bring(registry, package, "good")
    text = refusal(lambda: registry.ask("good"))
    assert "first 1.0" in text
    assert "second 1.0" in text


@each_registry
@pytest.mark.parametrize(
    ("source", "expected"),
    [("raise RuntimeError('no CUDA here')", "no CUDA here"), ("FOUND = 3", "is 3, expected")],
    ids=["broken", "unfit"],
)
def test_a_broken_one_harms_those_who_name_it_alone(
    registry: Registry, bring: Bring, source: str, expected: str
) -> None:
    bring(registry, "broken", "bad", source)
    assert "bad" in registry.names()
    assert registry.ask(registry.built_in)
    text = refusal(lambda: registry.ask("bad"))
    assert expected in text
    assert "broken 1.0" in text


def test_auto_takes_no_teacher_of_a_package(bring: Bring) -> None:
    bring(REGISTRIES["teachers"], "lab", "aaa", "raise RuntimeError('asked for')")
    assert choose_teacher("auto", molecule_from_smiles("O")).name == "q-spc-fw"
    assert "aaa" in refusal(lambda: choose_teacher("aab", molecule_from_smiles("O")))


def test_a_potential_that_calls_itself_otherwise_is_refused(bring: Bring) -> None:
    """Its weights would be read as those of another architecture."""
    registry = REGISTRIES["potentials"]
    bring(registry, "lab", "other")
    assert "'other' calls itself 'good'" in refusal(lambda: registry.ask("other"))
