# SPDX-License-Identifier: Apache-2.0
"""What `eval` found, as a table for people: measures down, productions of every head and trivial methods across."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from avatar3d.metrics import Figures
from avatar3d.metrics.networks import NetworkFigures
from avatar3d.metrics.orbit import PITCH_DEG, YAW_DEG, OrbitFigures
from avatar3d.recipes._contender import PRODUCTIONS
from avatar3d.recipes._text import shown

SAYS = {
    "photometric": "self_tracked: landmarks' motion, refined until the drawn head lies on the held-out pictures; "
    "the head is frozen. self_landmarks: without that",
    "landmarks": "self_tracked: landmarks' motion",
}


Column = tuple[str, str, list[str]]  # head, production, cells


def table(report: Mapping[str, Any]) -> str:
    """The measures of every production side by side."""
    one_head = len(report["heads"]) == 1
    title = f"{report['capture']}: {report['frames']} held-out frames from {report['first_frame']} on"
    costs = [f"{name}: {cost(head)}" for name, head in report["heads"].items()]
    around = [f"{orbit_title()} (orbit.png, orbit.gif):", *_aligned(orbit_columns(report["heads"]), one_head)]
    figures = _aligned(figure_columns(report), one_head)
    networks = _aligned(network_columns(report), one_head=False)
    around += ["", "by networks of your own:", *networks] if report["networks"] else []
    return "\n".join([title, "", *figures, "", *around, "", SAYS[report["motion"]], *costs, *report["notes"]])


def cost(head: Mapping[str, Any]) -> str:
    """What kind of head it is, how fast and how large."""
    return f"{head['head']}, {shown(head['render_fps'])} frames/s drawn, {shown(head['avatar_mb'])} MB"


def figure_columns(report: Mapping[str, Any]) -> list[Column]:
    """The measures' names, then every production's figures."""
    return [("", "", Figures.names()), *_productions(report)]


def orbit_title() -> str:
    """What `orbit_columns` are."""
    return f"from other sides, yaw to {YAW_DEG:g} and pitch to {PITCH_DEG:g} deg"


def orbit_columns(heads: Mapping[str, Any]) -> list[Column]:
    """How the heads hold up from sides that no frame showed; names first."""
    names = [entry.name for entry in fields(OrbitFigures)]
    return [
        ("", "", names),
        *(
            (head, f"{turned} turned", [shown(entry["orbit"][turned][name]) for name in names])
            for head, entry in heads.items()
            for turned in ("camera", "head")
        ),
    ]


def network_columns(report: Mapping[str, Any]) -> list[Column]:
    """What the user's own networks say of the real frames and of every production; names first."""
    names = [entry.name for entry in fields(NetworkFigures)]
    columns: list[Column] = [("", "", names)]
    for key, found in report["networks"].items():
        head, _, production = key.rpartition("/")
        columns.append((head, production, [shown(found[name]) for name in names]))
    return columns


def _aligned(columns: Sequence[Column], one_head: bool) -> list[str]:
    lines = [*zip(*([head, production, *cells] for head, production, cells in columns), strict=True)]
    if one_head:
        lines = lines[1:]  # whose columns these are is clear
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]


def _productions(report: Mapping[str, Any]) -> Iterator[Column]:
    for name, head in report["heads"].items():
        for production in PRODUCTIONS:
            if head[production]:
                yield name, production, _figures(head[production])
    for production, measures in report["baselines"].items():
        if measures:
            yield "", production, _figures(measures)


def _figures(measures: Mapping[str, float | None]) -> list[str]:
    return [shown(measures[name]) for name in Figures.names()]
