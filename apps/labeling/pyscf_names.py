"""Names of functionals and basis sets that PySCF knows, and those nearest to one that it does not.

Nearest by letters: signs and case do not count, as for PySCF.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable

from pyscf import dft, gto
from pyscf.gto import basis as basis_sets

__all__ = ["knows_basis", "nearest_bases", "nearest_functionals"]

_WRITTEN = (
    "def2-SVP", "def2-SVPD", "def2-TZVP", "def2-TZVPD", "def2-TZVPP", "def2-QZVP", "def2-QZVPP",
    "cc-pVDZ", "cc-pVTZ", "cc-pVQZ", "aug-cc-pVDZ", "aug-cc-pVTZ", "aug-cc-pVQZ", "STO-3G", "3-21G",
    "6-31G", "6-31G*", "6-31G**", "6-31+G*", "6-311G**", "6-311++G**", "PBE", "PBE0", "B3LYP",
    "BLYP", "revPBE", "RPBE", "TPSS", "SCAN", "r2SCAN", "B97M-V", "wB97X-V", "wB97M-V", "wB97X",
    "M06-2X", "M06-L", "CAM-B3LYP", "B97-D", "PBEsol", "HSE06",
)  # fmt: skip
"""How the field writes what PySCF keeps without signs."""

_FAMILY = re.compile(r"^(HYB_)?(LDA|GGA|MGGA)_(XC_)?")
_PART = re.compile(r"^(HYB_)?(LDA|GGA|MGGA)_(X|C|K)_")


def nearest_functionals(name: str) -> list[str]:
    """Up to three functionals nearest to a name, as the field writes them."""
    whole = [_FAMILY.sub("", code) for code in dft.libxc.XC_CODES if not _PART.match(code)]
    return [found for found in _nearest(name, [*dft.libxc.XC_ALIAS, *whole]) if _parses(found)]


def _parses(name: str) -> bool:
    try:
        dft.libxc.parse_xc(name)
    except (KeyError, ValueError):
        return False
    return True


def nearest_bases(name: str) -> list[str]:
    """Up to three basis sets nearest to a name, as the field writes them."""
    return _nearest(name, basis_sets.ALIAS)


def knows_basis(name: str, symbol: str) -> bool:
    """Whether a basis set has functions for an element."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to install a package that would know more
            return bool(gto.basis.load(name, symbol))
    # What it does not know it meets with several kinds of errors.
    except Exception:
        return False


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    plain = {_plain(one): one for one in known}
    plain |= {_plain(one): one for one in _WRITTEN if _plain(one) in plain}
    found = difflib.get_close_matches(_plain(name), list(plain), n=3, cutoff=0.5)
    return [plain[one] for one in found]


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()
