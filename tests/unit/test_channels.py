"""Channels of published labels: their spins, one surface a composition, and what is held out."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from apps.dynamics.species import count_species
from apps.labeling.channel_choice import (
    FRAMES_PER_BLOCK,
    PATH,
    Choice,
    Tags,
    choose,
    composition,
    read_tags,
    with_channels,
)
from apps.labeling.channels import CHANNEL_TABLES, channel_table
from data_store.errors import InputError
from data_store.extxyz import read_extxyz
from data_store.structures import Structures

TABLE = "hydrogen-combustion"
ATOMS = {"r02": "OHH", "r08": "OHH", "r03": "OHHH", "r20": "OOOOH"}
PUBLISHED = Path(os.environ.get("CAMPAIGN_H2COMB", "shared/data/h2comb_train4230.extxyz"))


def write(path: Path, *comments: str) -> Path:
    """Frames of what their channel is made of, with what their comment lines say."""
    rng = np.random.default_rng(0)
    lines = []
    for comment in comments:
        symbols = next((s for name, s in ATOMS.items() if f"rxn={name}" in comment), "OH")
        head = f"energy=-1.0 Properties=species:S:1:pos:R:3:forces:R:3 {comment}"
        lines += [str(len(symbols)), head]
        lines += [" ".join([s, *(f"{v:.6f}" for v in rng.normal(size=6))]) for s in symbols]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> tuple[Structures, Tags]:
    tags = read_tags(path, TABLE)
    return with_channels(read_extxyz(path), tags, TABLE), tags


def chosen(path: Path, surfaces: dict[str, int], held_out: tuple[str, ...] = ()) -> Choice:
    return choose(*read(path), TABLE, surfaces, held_out)


@pytest.mark.parametrize("table", CHANNEL_TABLES)
def test_a_channel_conserves_atoms_and_has_a_multiplicity_of_its_electrons(table: str) -> None:
    for name, channel in channel_table(table).items():
        assert channel.name == name
        sides = [atoms_of(side) for side in (channel.reactants, channel.products)]
        assert sides[0] == sides[1], channel.equation
        if channel.multiplicity is not None:
            electrons = sides[0]["H"] + 8 * sides[0]["O"]
            assert (electrons + channel.multiplicity) % 2 == 1, channel.equation


def atoms_of(species: tuple[str, ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in species:
        for place, symbol in enumerate(name):
            if symbol.isalpha():
                count = name[place + 1 : place + 2]
                found[symbol] += int(count) if count.isdigit() else 1
    return found


def test_spins_come_from_the_table_and_two_surfaces_want_a_choice(tmp_path: Path) -> None:
    file = write(tmp_path / "a.extxyz", "rxn=r02 kind=nm", "rxn=r08 kind=nm", "rxn=r03 kind=nm")
    structures, tags = read(file)
    assert structures.multiplicities.tolist() == [3, 1, 2]
    with pytest.raises(InputError, match=r"H2O: 1 \(r08\), 3 \(r02\)") as refused:
        choose(structures, tags, TABLE, {}, ())
    assert "labels.surfaces = { H2O = 1 }" in str(refused.value)
    found = choose(structures, tags, TABLE, {"H2O": 3}, ())
    assert (found.train.tolist(), found.test.tolist()) == ([0, 2], [])
    assert found.left_out == {"r08: H2O of multiplicity 1, not 3": 1}
    assert "1 left out (1 of r08" in found.in_words()


def test_paths_and_channels_held_out_test_and_never_train(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.extxyz",
        "rxn=r02 kind=nm", "rxn=r02 kind=irc", "rxn=r03 kind=nm", "rxn=r03 kind=irc",
        "rxn=r07 kind=irc",
    )  # fmt: skip
    all_in = chosen(file, {})
    assert (all_in.train.tolist(), all_in.test.tolist()) == ([0, 2, 4], [1, 3])  # r07 is a scan
    without = chosen(file, {}, ("r03",))
    assert (without.train.tolist(), without.test.tolist()) == ([0, 4], [1, 2, 3])


def test_an_unknown_multiplicity_is_left_out_unless_the_frame_says_it(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.extxyz", "rxn=r20 kind=aimd", "rxn=r20 kind=aimd multiplicity=2", "rxn=r03"
    )
    found = chosen(file, {})
    assert found.train.tolist() == [1, 2]
    assert found.left_out == {"r20: multiplicity unknown": 1}


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("kind=nm", r"frame 1 names no channel"),
        ("rxn=r99", r"frame 1: unknown channel 'r99'"),
        ("rxn=r03 multiplicity=4", r"frame 1 says multiplicity=4, and channel r03 has 2"),
    ],
)
def test_frames_that_contradict_the_table_are_named(
    tmp_path: Path, comment: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_tags(write(tmp_path / "a.extxyz", "rxn=r03", comment), TABLE)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.extxyz", "rxn=r03 kind=nm")
    with pytest.raises(InputError, match=r"no frame of H2O has multiplicity 3"):
        chosen(file, {"H2O": 3})
    with pytest.raises(InputError, match="names r04, and no frame"):
        chosen(file, {}, ("r04",))
    with pytest.raises(InputError, match=r"unknown channel in labels.held_out_channels 'r4'"):
        chosen(file, {}, ("r4",))
    with pytest.raises(InputError, match="unknown table of channels 'ethene'"):
        read_tags(file, "ethene")


def test_a_path_is_one_trajectory_and_other_frames_are_blocks_of_it(tmp_path: Path) -> None:
    far = 3 * FRAMES_PER_BLOCK
    file = write(
        tmp_path / "a.extxyz",
        "rxn=r03 kind=irc src_index=0", f"rxn=r03 kind=irc src_index={far}",
        "rxn=r03 kind=aimd src_index=0", "rxn=r03 kind=aimd src_index=1",
        f"rxn=r03 kind=aimd src_index={far}", "rxn=r02 kind=aimd src_index=0",
    )  # fmt: skip
    a, b, c, d, e, f = read(file)[0].parents.tolist()
    assert a == b
    assert c == d
    assert len({a, c, e, f}) == 4


published = pytest.mark.skipif(
    not PUBLISHED.is_file(),
    reason=f"no hydrogen combustion labels at {PUBLISHED} (CAMPAIGN_H2COMB names the file)",
)


@published
def test_every_published_path_leads_from_its_reactants_to_its_products() -> None:
    structures, tags = read(PUBLISHED)
    table, checked = channel_table(TABLE), 0
    for name, channel in table.items():
        rows = [
            row
            for row, (of, kind) in enumerate(zip(tags.channels, tags.kinds, strict=True))
            if of == name and kind == PATH
        ]
        if not channel.has_path or not rows:
            continue
        rows.sort(key=lambda row: tags.places[row])
        ends = {species_of(structures, row) for row in (rows[0], rows[-1])}
        assert ends == {channel.reactants, channel.products}, channel.equation
        checked += 1
    assert checked == sum(channel.has_path for channel in table.values())


def species_of(structures: Structures, row: int) -> tuple[str, ...]:
    x = structures.positions_of(row)[None].astype(np.float64)
    found = count_species(x, structures.numbers_of(row))
    return tuple(sorted(name for name, count in found.items() for _ in range(int(count[0]))))


@published
def test_published_labels_lie_on_several_surfaces() -> None:
    structures, tags = read(PUBLISHED)
    with pytest.raises(InputError, match="several spin surfaces") as refused:
        choose(structures, tags, TABLE, {}, ())
    for formula in ("H2O", "H2O2", "HO2", "HO3", "O2"):
        assert f"{formula}: " in str(refused.value)
    surfaces = {"H2O": 3, "H2O2": 3, "HO2": 2, "HO3": 2, "O2": 3}
    found = choose(structures, tags, TABLE, surfaces, ("r14",))
    counted = len(found.train) + len(found.test) + sum(found.left_out.values())
    assert counted == len(structures)
    by_formula: dict[str, set[int]] = {}
    for row in np.concatenate([found.train, found.test]):
        formula = composition(structures.numbers_of(row))
        by_formula.setdefault(formula, set()).add(int(structures.multiplicities[row]))
    assert all(len(spins) == 1 for spins in by_formula.values())
