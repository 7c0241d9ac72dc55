"""The conductor: from a campaign file to measured failure rates.

``from campaign import Campaign`` is the Python door; ``campaign launch`` the command line's.
Nothing heavy is loaded by importing this package: no torch, parsl, openmm, rdkit or pyscf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from campaign.campaign import Campaign

__all__ = ["Campaign"]


def __getattr__(name: str) -> Any:
    """Load `Campaign` when it is first asked for."""
    if name == "Campaign":
        from campaign.campaign import Campaign

        return Campaign
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
