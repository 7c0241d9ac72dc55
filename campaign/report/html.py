"""``report.html``: one page, all inside, that says what was found before it shows how.

Words come first, also where nothing was found. Numbers are those of ``report.json``; this computes
none.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import Any

import jinja2

from campaign.coverage.figure import coverage_figure
from campaign.report import plots
from campaign.report.channels import (
    channel_results,
    channel_table,
    channels_figure,
    enough_in_words,
)
from campaign.report.coverage import covered_in_words
from campaign.report.failures import FOLDER, course_of, file_name, kinds_of, shown_by_kind
from campaign.report.free_energy import free_energy_figure, free_energy_rows
from campaign.report.inputs import FailurePicture, ReportInputs
from campaign.report.learning import errors_figure, saved_in_words
from campaign.report.liquid_figures import rdf_figure, vibrations_figure
from campaign.report.liquid_inputs import Liquid
from campaign.report.liquid_rows import liquid_json, runs_with_structure
from campaign.report.pictures import course_figure, failure_figure
from campaign.report.probes import SHOWN_A, probe_table, probes_figure
from campaign.report.species import species_figure
from campaign.report.structure import distances_figure

__all__ = ["draw_figures", "interval_in_words", "number_in_words", "render_html"]


def render_html(
    inputs: ReportInputs, found: dict[str, Any], figures: dict[str, str] | None = None
) -> str:
    """Render the page.

    Parameters
    ----------
    inputs : ReportInputs
    found : dict
        What ``report.json`` holds.
    figures : dict, optional
        From `draw_figures`, where they are drawn already.
    """
    text = resources.files("campaign.report").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["interval"] = interval_in_words
    environment.filters["number"] = number_in_words
    return environment.from_string(text).render(
        inputs=inputs,
        report=found,
        headlines=[_headline(row) for row in found["comparisons"]],
        saved=[saved_in_words(row) for row in found["labels_saved"]],
        figures=draw_figures(inputs) if figures is None else figures,
        covered=covered_in_words(inputs),
        arms=sorted({model.arm for model, _ in inputs.runs}),
        gallery=_gallery(inputs),
        control=[_control_in_words(row) for row in found["control"]],
        probes=probe_table(found["probes"], _control_probes(inputs)) if found["probes"] else [],
        probed_changes=SHOWN_A,
        channels=channel_table(found["channels"]) if found["channels"] else [],
        enough=[enough_in_words(row) for row in (found["channels"] or {}).get("enough", [])],
        settings=_settings(inputs.settings),
    )


def _control_probes(inputs: ReportInputs) -> tuple[str, dict[str, Any]] | None:
    if inputs.control is None or inputs.control.probes is None:
        return None
    return inputs.control.method, inputs.control.probes


def _control_in_words(row: dict[str, Any]) -> str:
    """What the reference method's replicas did at one temperature."""
    low, high = row["rate_interval_per_ns"]
    causes = ", ".join(f"{cause} {count}" for cause, count in row["causes"].items())
    return (
        f"At {row['temperature_K']:g} K, {row['failures']} of {row['replicas']} replicas failed "
        f"under {row['method']} in {number_in_words(row['exposure_ps'])} ps"
        + (f" ({causes})" if causes else "")
        + f": {number_in_words(row['rate_per_ns'])} per ns "
        + f"(95 % {number_in_words(low)} to {number_in_words(high)})."
    )


def _gallery(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Kinds of failure, most frequent first, with what is shown of each."""
    shown = shown_by_kind(inputs.pictures, inputs.molecule)
    return [
        {
            "count": count,
            "examples": [_example(picture, inputs) for picture in shown.get(count.kind, [])],
        }
        for count in kinds_of(inputs.runs, inputs.molecule)
    ]


def _example(picture: FailurePicture, inputs: ReportInputs) -> dict[str, Any]:
    course = course_of(picture, inputs.limits)
    return {
        "picture": picture,
        "image": plots.svg(failure_figure(picture, inputs.molecule)),
        "course": plots.svg(course_figure(course)) if course else None,
        "file": f"{FOLDER}/{file_name(picture, inputs.molecule)}",
    }


def draw_figures(inputs: ReportInputs) -> dict[str, str]:
    """Figures by name, as markup; those that nothing can be drawn in are left out."""
    drawn = {
        "survival": plots.svg(plots.survival_figure(inputs)),
        "rates": plots.svg(plots.rates_figure(inputs)),
    }
    if any(run.failed for runs in inputs.runs.values() for run in runs):
        drawn["causes"] = plots.svg(plots.causes_figure(inputs))
    if any(inputs.errors.values()):
        drawn["errors"] = plots.svg(errors_figure(inputs))
    if inputs.reference is not None and any(d.frames for d in inputs.distances.values()):
        drawn["distances"] = plots.svg(distances_figure(inputs, inputs.reference))
    if any(found["scan"] for found in inputs.probes.values()):
        drawn["probes"] = plots.svg(probes_figure(inputs))
    if inputs.biased:
        rows = list(free_energy_rows(inputs.biased))
        drawn["free_energy"] = plots.svg(free_energy_figure(rows))
    if inputs.liquid is not None:
        drawn |= _liquid_figures(inputs, inputs.liquid)
    reactions = channel_results(inputs.channels, inputs.parity)
    if reactions and reactions["curve"]:
        drawn["channels"] = plots.svg(channels_figure(reactions))
    if inputs.species:
        drawn["species"] = plots.svg(species_figure(inputs.species))
    if any("force_label" in values for values in inputs.parity.values()):
        drawn["parity"] = plots.png(plots.parity_figure(inputs))
    if inputs.coverage is not None and inputs.coverage.tiers:
        drawn["coverage"] = plots.svg(coverage_figure(inputs.coverage))
    if inputs.curves:
        drawn["curves"] = plots.svg(plots.curves_figure(inputs))
    return drawn


def _liquid_figures(inputs: ReportInputs, liquid: Liquid) -> dict[str, str]:
    found, drawn = liquid_json(liquid), {}
    if found["rdf"]:
        drawn["liquid_rdf"] = plots.svg(rdf_figure(found))
    if found["structure"]:
        with_structure = replace(inputs, runs=runs_with_structure(liquid))
        drawn["liquid_survival"] = plots.svg(plots.survival_figure(with_structure))
    if found["density_of_states"]:
        drawn["liquid_vibrations"] = plots.svg(vibrations_figure(found))
    return drawn


def _headline(row: dict[str, Any]) -> str:
    """One comparison in words."""
    (other, base), (n_other, n_base) = row["failures"], row["replicas"]
    text = (
        f"With {row['labels']} labels at {row['temperature_K']:g} K, {other} of {n_other} replicas "
        f"failed in arm {row['against']} and {base} of {n_base} in arm pretrained"
    )
    low, high = row["rate_ratio_interval"]
    if other == base == 0:
        return f"{text}: nothing failed, so that nothing can be told."
    bounds = f"{number_in_words(low)} to {'∞' if high is None else number_in_words(high)}"
    value = "∞" if row["rate_ratio"] is None else number_in_words(row["rate_ratio"])
    verdict = (
        "this run tells them apart"
        if (low is not None and low > 1.0) or (high is not None and high < 1.0)
        else "this run does not tell them apart"
    )
    scope = f"over {row['seeds']} seeds" if row["seeds"] > 1 else "conditional on these two models"
    return f"{text}: the rate ratio is {value} (95 % {bounds}, {scope}); {verdict}."


def number_in_words(value: float | None, digits: int = 3) -> str:
    """So many digits, in plain notation unless very large or small."""
    return "–" if value is None else f"{float(f'{value:.{digits}g}'):g}"


def interval_in_words(interval: list[float | None] | None, digits: int = 3) -> str:
    """Both bounds of an interval; a bound above that is not finite is ∞."""
    if interval is None:
        return "–"
    low, high = interval
    return (
        f"{number_in_words(low, digits)} … {'∞' if high is None else number_in_words(high, digits)}"
    )


def _settings(tables: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted keys and values of the campaign file."""
    rows: list[tuple[str, str]] = []
    for key, value in tables.items():
        if isinstance(value, dict):
            rows += _settings(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
