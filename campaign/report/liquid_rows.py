"""``liquid`` of `report.json`: structure, failures with and without it, movement.

Models first, runs second, as everywhere. Curves and diffusion are of runs that their own criteria
let live, whether or not their structure failed: to leave those out would be choosing by the result.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from campaign.report.failure_summary import failure_summary
from campaign.report.inputs import Model
from campaign.report.liquid_inputs import Liquid, LiquidRun
from campaign.report.liquid_reference import shown_g
from campaign.statistics.bands import Band, band_over_models
from campaign.statistics.comparison import rate_ratio
from campaign.statistics.diffusion import (
    WINDOW_PS,
    WATER_VISCOSITY_mPa_s,
    finite_size_A2_per_ps,
)
from campaign.statistics.structural_failure import (
    BLOCK_PS,
    CAUSE,
    RANGE_A,
    THRESHOLD_A,
    first_block,
    with_structure,
)
from campaign.statistics.vibrations import degrees_of_freedom
from data_store.runs import Run
from data_store.units import SYMBOLS

__all__ = ["liquid_json", "runs_with_structure"]

_BASE_ARM = "pretrained"
_WATER = {1: 2.0, 8: 1.0}

Array = NDArray[np.float64]
Case = tuple[int, float, str]


def liquid_json(liquid: Liquid) -> dict[str, Any]:
    """All of it as plain JSON."""
    return {
        "box": {
            "atoms": dict(Counter(SYMBOLS[int(z)] for z in liquid.numbers)),
            "cell_A": liquid.cell_A.tolist(),
            "atoms_per_A3": liquid.density_per_A3,
        },
        "dynamics": {
            name: liquid.dynamics.get(name)
            for name in ("ensemble", "friction_per_ps", "length_ps", "save_stride_ps")
        },
        "criterion": {"threshold_A": THRESHOLD_A, "range_A": RANGE_A, "block_ps": BLOCK_PS},
        "reference": _reference(liquid),
        "structure": list(_structure(liquid)),
        "structure_comparisons": list(_comparisons(liquid)),
        "rdf": list(_curves(liquid)),
        "diffusion": list(_diffusion(liquid)),
        "diffusion_window_ps": list(WINDOW_PS),
        "finite_size": list(_finite_size(liquid)),
        "density_of_states": list(_spectra(liquid)),
        "notes": liquid.notes,
    }


def _reference(liquid: Liquid) -> dict[str, Any] | None:
    known = liquid.reference
    if known is None:
        return None
    return {
        "source": known.source,
        "frames": known.frames,
        "errors_of_halves_A": known.errors_of_halves_A,
        "atoms_per_A3": known.density_per_A3 or None,
        "sound_blocks": asdict(known.sound) if known.sound else None,
        "rdf": {
            pair: {"r_A": _middles(curve.edges_A), "g": _plain(curve.g)}
            for pair, curve in known.shown.items()
        },
    }


def _structure(liquid: Liquid) -> Iterator[dict[str, Any]]:
    """Rows by model and temperature; nothing where there is no reference."""
    if liquid.reference is None:
        return
    for (model, temperature), runs in sorted(liquid.runs.items(), key=lambda item: item[0]):
        pairs = runs[0].judged.pairs
        blocks = np.concatenate([found.judged.errors_A for found in runs])
        seen = blocks[np.isfinite(blocks).all(axis=1)]
        yield {
            "arm": model.arm,
            "labels": model.labels,
            "seed": model.seed,
            "temperature_K": temperature,
            "blocks_judged": len(seen),
            "blocks_not_judged": sum(found.judged.not_judged for found in runs),
            "mean_error_A": dict(zip(pairs, _plain(seen.mean(0)), strict=True))
            if len(seen)
            else {},
            "largest_error_A": float(seen.max()) if len(seen) else None,
            "runs_beyond_by_pair": {
                pair: sum(first_block(f.judged.errors_A[:, place]) is not None for f in runs)
                for place, pair in enumerate(pairs)
            },
            "runs_beyond": sum(first_block(f.judged.largest_A) is not None for f in runs),
            "without_structure": failure_summary([found.run for found in runs]),
            "with_structure": failure_summary(_with_structure(runs)),
        }


def runs_with_structure(liquid: Liquid) -> dict[tuple[Model, float], list[Run]]:
    """All runs, by model and temperature, as they are where structure counts as a failure."""
    return {key: _with_structure(runs) for key, runs in liquid.runs.items()}


def _with_structure(runs: Sequence[LiquidRun]) -> list[Run]:
    return with_structure([found.run for found in runs], [found.judged for found in runs])


def _comparisons(liquid: Liquid) -> Iterator[dict[str, Any]]:
    """Rate ratios where structure counts as a failure, by the analysis of the headline."""
    if liquid.reference is None:
        return
    cases = sorted({(m.labels, t, m.arm) for m, t in liquid.runs if m.arm != _BASE_ARM})
    for labels, temperature, arm in cases:
        base, other = (
            {
                m.seed: _with_structure(runs)
                for (m, t), runs in liquid.runs.items()
                if (m.arm, m.labels, t) == (name, labels, temperature)
            }
            for name in (_BASE_ARM, arm)
        )
        shared = sorted(set(base) & set(other))
        if shared:
            ratio = rate_ratio(base, other)
            counted = [[r for seed in shared for r in of[seed]] for of in (other, base)]
            yield {
                "labels": labels,
                "temperature_K": temperature,
                "against": arm,
                "seeds": len(shared),
                "rate_ratio": ratio.value,
                "rate_ratio_interval": ratio.interval,
                "failures": [sum(run.failed for run in runs) for runs in counted],
                "failures_of_structure": [sum(r.cause == CAUSE for r in runs) for runs in counted],
                "replicas": [len(runs) for runs in counted],
            }


def _by_arm(liquid: Liquid) -> dict[Case, dict[Model, list[LiquidRun]]]:
    """Runs that their own criteria let live, by labels, temperature and arm, then by model."""
    found: dict[Case, dict[Model, list[LiquidRun]]] = defaultdict(dict)
    for (model, temperature), runs in sorted(liquid.runs.items(), key=lambda item: item[0]):
        sound = [one for one in runs if not one.run.failed]
        if sound:
            found[model.labels, temperature, model.arm][model] = sound
    return dict(sorted(found.items()))


def _banded(
    models: Mapping[Model, Sequence[LiquidRun]], values: Callable[[LiquidRun], Array | None]
) -> tuple[Band | None, dict[str, Any]]:
    """Band over models and runs of what they have, with how many have it."""
    curves = []
    for runs in models.values():
        of_one = [value for value in (values(found) for found in runs) if value is not None]
        if of_one:
            curves.append(np.stack(of_one))
    if not curves:
        return None, {}
    band = band_over_models(curves)
    told = {"models": len(curves), "runs": sum(map(len, curves)), "interval_kind": band.kind}
    return band, told


def _of(case: Case) -> dict[str, Any]:
    labels, temperature, arm = case
    return {"arm": arm, "labels": labels, "temperature_K": temperature}


def _curves(liquid: Liquid) -> Iterator[dict[str, Any]]:
    for case, models in _by_arm(liquid).items():
        pairs = next(iter(models.values()))[0].judged.counts.pairs
        for pair in pairs:

            def curve(found: LiquidRun, pair: str = pair) -> Array | None:
                return shown_g(found.judged.counts, pair).g if found.judged.counts.frames else None

            band, told = _banded(models, curve)
            if band is not None:
                edges = shown_g(next(iter(models.values()))[0].judged.counts, pair).edges_A
                yield {
                    **_of(case), "pair": pair, **told, "r_A": _middles(edges),
                    "g": _plain(band.mean), "low": _plain(band.low), "high": _plain(band.high),
                }  # fmt: skip


def _diffusion(liquid: Liquid) -> Iterator[dict[str, Any]]:
    for case, models in _by_arm(liquid).items():
        for element in (SYMBOLS[int(z)] for z in np.unique(liquid.numbers)[::-1]):

            def values(found: LiquidRun, element: str = element) -> Array | None:
                one = found.diffusion.get(element)
                return np.array([one.blocks_A2_per_ps.mean(), one.exponent]) if one else None

            band, told = _banded(models, values)
            if band is None:
                continue
            if told["runs"] == 1:
                band, told["interval_kind"] = _over_blocks(models, element, band)
            low, high = _plain(band.low)[0], _plain(band.high)[0]
            yield {
                **_of(case), "element": element, **told,
                "D_A2_per_ps": float(band.mean[0]),
                "interval_A2_per_ps": [low, high] if low is not None else None,
                "standard_error_A2_per_ps": _plain(band.standard_error)[0],
                "exponent": float(band.mean[1]),
            }  # fmt: skip


def _over_blocks(
    models: Mapping[Model, Sequence[LiquidRun]], element: str, whole: Band
) -> tuple[Band, str]:
    """Where a single run is all there is, its blocks are what an error can be read off."""
    (found,) = (f for runs in models.values() for f in runs if element in f.diffusion)
    blocks = found.diffusion[element].blocks_A2_per_ps
    if len(blocks) < 2:
        return whole, whole.kind
    exponents = np.full(len(blocks), found.diffusion[element].exponent)
    return band_over_models([np.stack([blocks, exponents], 1)]), "over blocks of one run"


def _finite_size(liquid: Liquid) -> Iterator[dict[str, Any]]:
    """What a cube of water takes from D, were its viscosity that of real water."""
    kinds = {int(z): float((liquid.numbers == z).sum()) for z in np.unique(liquid.numbers)}
    least = min(kinds.values())
    edges = np.linalg.norm(liquid.cell_A, axis=1)
    cube = np.allclose(liquid.cell_A @ liquid.cell_A.T, np.eye(3) * edges[0] ** 2, rtol=1e-6)
    if not cube or {z: count / least for z, count in kinds.items()} != _WATER:
        return
    for temperature in sorted({t for _, t in liquid.runs}):
        yield {
            "temperature_K": temperature,
            "add_A2_per_ps": finite_size_A2_per_ps(temperature, float(edges[0])),
            "viscosity_mPa_s": WATER_VISCOSITY_mPa_s,
            "viscosity_of": "water at 298.15 K, by experiment: not the model's",
        }


def _spectra(liquid: Liquid) -> Iterator[dict[str, Any]]:
    for case, models in _by_arm(liquid).items():
        known = [f.spectrum for runs in models.values() for f in runs if f.spectrum is not None]
        if not known:
            continue
        first = known[0]

        def densities(found: LiquidRun, shape: tuple[int, ...] = first.density_cm.shape) -> Any:
            one = found.spectrum
            return one.density_cm if one is not None and one.density_cm.shape == shape else None

        band, told = _banded(models, densities)
        if band is None:
            continue
        freedom = {
            element: float(np.mean([degrees_of_freedom(one)[element] for one in known]))
            for element in first.elements
        }
        kept = {"resolution_per_cm": first.resolution_per_cm}
        for place, element in enumerate(first.elements):
            atoms = int(sum(SYMBOLS[int(z)] == element for z in liquid.numbers))
            yield {
                **_of(case), "element": element, **told,
                "wavenumbers_per_cm": _plain(first.wavenumbers_per_cm),
                "density_cm": _plain(band.mean[place]), "low": _plain(band.low[place]),
                "high": _plain(band.high[place]), **kept,
                "degrees_of_freedom_per_atom": freedom[element] / atoms,
            }  # fmt: skip


def _middles(edges_A: Array) -> list[float]:
    return [round(float(r), 6) for r in 0.5 * (edges_A[:-1] + edges_A[1:])]


def _plain(values: Array) -> list[Any]:
    """JSON knows no number that is none; six digits are more than are known."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
