"""Channels of published reaction sets: what reacts to what, and on which spin surface.

A table, not code: published labels seldom say their spin, and one composition may lie on two
surfaces. Nothing here reads a file (`apps.labeling.channel_choice`).

Hydrogen combustion (Guan et al. 2022, doi:10.1038/s41597-022-01330-5): channels and multiplicities
as the authors' own table names them (`combust/utils/rxn_data.py` of github.com/THGLab/
H2Combustion_AL). We computed frames of each channel anew in its multiplicity, and in the nearest
other one; docs/combustion.md has what came out. Channels 20 and 21 are in the files and in no
description that we found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data_store.errors import unknown_name

__all__ = ["CHANNEL_TABLES", "Channel", "channel_table"]


@dataclass(frozen=True)
class Channel:
    """One channel of a reaction.

    Parameters
    ----------
    name : str
        As frames call it.
    reactants, products : tuple of str
        Species at both ends, sorted; empty where nobody says.
    multiplicity : int or None
        2S + 1; None where nobody says.
    has_path : bool
        Whether its frames of kind ``irc`` are a path of a reaction, and no scan of a bond.
    """

    name: str
    reactants: tuple[str, ...]
    products: tuple[str, ...]
    multiplicity: int | None
    has_path: bool

    @property
    def equation(self) -> str:
        """``H + O2 → OH + O``; the name where no species are known."""
        if not self.reactants:
            return self.name
        return " → ".join(" + ".join(side) for side in (self.reactants, self.products))


def _channel(name: str, equation: str, multiplicity: int | None, path: bool = True) -> Channel:
    sides = [tuple(sorted(side.split())) for side in equation.split(">")]
    reactants, products = sides if len(sides) == 2 else ((), ())
    return Channel(name, reactants, products, multiplicity, path)


_HYDROGEN_COMBUSTION = (
    _channel("r01", "H O2 > OH O", 4),
    _channel("r02", "O H2 > OH H", 3),
    _channel("r03", "H2 OH > H2O H", 2),
    _channel("r04", "H2O O > OH OH", 3),
    _channel("r05", "H2 > H H", 1, False),
    _channel("r06a", "O2 > O O", 1, False),
    _channel("r06b", "O2 > O O", 3, False),
    _channel("r07", "OH > O H", 2, False),
    _channel("r08", "H OH > H2O", 1, False),
    _channel("r09", "H O2 > HO2", 2),
    _channel("r10", "HO2 H > H2 O2", 3),
    _channel("r11", "HO2 H > OH OH", 3),
    _channel("r12a", "HO2 O > OH O2", 2),
    _channel("r12b", "HO2 O > OH O2", 4),
    _channel("r13", "HO2 OH > H2O O2", 3),
    _channel("r14", "HO2 HO2 > H2O2 O2", 3),
    _channel("r15", "H2O2 > OH OH", 1),
    _channel("r16", "H2O2 H > H2O OH", 2),
    _channel("r17", "H2O2 H > H2 HO2", 2),
    _channel("r18", "H2O2 O > OH HO2", 3),
    _channel("r19", "H2O2 OH > H2O HO2", 2),
    _channel("r20", "", None, False),
    _channel("r21", "", None, False),
)

CHANNEL_TABLES: Mapping[str, Mapping[str, Channel]] = {
    "hydrogen-combustion": {channel.name: channel for channel in _HYDROGEN_COMBUSTION},
}
"""Tables by the name that ``labels.channels`` gives."""


def channel_table(name: str) -> Mapping[str, Channel]:
    """Table by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in CHANNEL_TABLES:
        raise unknown_name("table of channels", name, list(CHANNEL_TABLES))
    return CHANNEL_TABLES[name]
