# SPDX-License-Identifier: Apache-2.0
"""What `eval` found, as a table for people: measures down, productions of every head and trivial methods across."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from avatar3d.metrics import Figures
from avatar3d.metrics.orbit import PITCH_DEG, YAW_DEG, OrbitFigures
from avatar3d.recipes._contender import PRODUCTIONS
from avatar3d.recipes._text import shown

SAYS = {
    "photometric": "self_tracked: landmarks' motion, refined until the drawn head lies on the held-out pictures; "
    "the head is frozen. self_landmarks: without that",
    "landmarks": "self_tracked: landmarks' motion",
}


def table(report: Mapping[str, Any]) -> str:
    """The measures of every production side by side."""
    columns = [("", "", Figures.names()), *_columns(report)]
    text = _aligned(columns, len(report["heads"]) == 1)
    title = f"{report['capture']}: {report['frames']} held-out frames from {report['first_frame']} on"
    costs = [
        f"{name}: {head['head']}, {shown(head['render_fps'])} frames/s drawn, {shown(head['avatar_mb'])} MB"
        for name, head in report["heads"].items()
    ]
    return "\n".join(
        [title, "", *text, "", *_orbit_lines(report["heads"]), "", SAYS[report["motion"]], *costs, *report["notes"]]
    )


_Column = tuple[str, str, list[str]]  # head, production, cells


def _aligned(columns: Sequence[_Column], one_head: bool) -> list[str]:
    lines = [*zip(*([head, production, *cells] for head, production, cells in columns), strict=True)]
    if one_head:
        lines = lines[1:]  # whose columns these are is clear
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]


def _orbit_lines(heads: Mapping[str, Any]) -> list[str]:
    """How the heads hold up from sides that no frame showed."""
    names = [entry.name for entry in fields(OrbitFigures)]
    columns = [
        (head, f"{turned} turned", [shown(entry["orbit"][turned][name]) for name in names])
        for head, entry in heads.items()
        for turned in ("camera", "head")
    ]
    title = f"from other sides, yaw to {YAW_DEG:g} and pitch to {PITCH_DEG:g} deg (orbit.png, orbit.gif):"
    return [title, *_aligned([("", "", names), *columns], len(heads) == 1)]


def _columns(report: Mapping[str, Any]) -> Iterator[_Column]:
    for name, head in report["heads"].items():
        for production in PRODUCTIONS:
            if head[production]:
                yield name, production, _figures(head[production])
    for production, measures in report["baselines"].items():
        if measures:
            yield "", production, _figures(measures)


def _figures(measures: Mapping[str, float | None]) -> list[str]:
    return [shown(measures[name]) for name in Figures.names()]
