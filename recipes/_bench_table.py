# SPDX-License-Identifier: Apache-2.0
"""The figures of `avatar3d bench` as tables of a text, so that no figure there is copied by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avatar3d.errors import InputError
from avatar3d.recipes import bench_field, bench_track
from avatar3d.store import replacing

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def write_into(path: Path, figures: Mapping[str, Any]) -> None:
    """Replaces what stands between the marks of a text file.

    Raises:
        InputError: the file is missing or has no marks.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", "name a text that has the marks of the table")
    text = put_into(path.read_text(encoding="utf-8"), figures, str(path))
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def put_into(text: str, figures: Mapping[str, Any], name: str = "text") -> str:
    """The text with the figures between its marks.

    Raises:
        InputError: it has no marks.
    """
    before, begin, rest = text.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{name}: no place for the table", f"write the lines {BEGIN} and {END} where it belongs")
    return before + begin + markdown(figures) + end + after


def markdown(figures: Mapping[str, Any]) -> str:
    """The machine in a line, then a table for each kind of figures there is."""
    machine = figures["machine"]
    heads: tuple[str, ...]
    parts = [
        f"{machine['processor']}, {machine['cores']} cores. Times in ms: minimum, median. Load: of the whole machine.\n"
    ]
    if figures.get("rows"):
        heads = ("picture, Gaussians", "kernels", "forward", "1 thread", "forward and backward", "1 thread", "load")
        parts.append(_table(heads, _splat_lines(figures["rows"])))
    if figures.get("posed"):
        heads = ("drawn from codes and poses", "images", "kernels", "threads", "all images", "images/s", "load")
        parts.append(_table(heads, [_posed_line(row) for row in figures["posed"]]))
    if figures.get("filmed"):
        heads = ("finished frames from codes", "threads", "one kernel", "frames/s", "kernels in turn", "torch", "load")
        parts.append(_table(heads, [_filmed_line(row) for row in figures["filmed"]]))
    if figures.get("against"):
        heads = ("ours beside", "picture, Gaussians", "threads", "forward", "times", "both", "times", "load")
        parts.append(_table(heads, [_against_line(row) for row in figures["against"]]))
    if figures.get("steps"):
        heads = ("a step of training", "perceptual term", "threads", "whole step", "of it: draw", "backward", "load")
        parts.append(_table(heads, [_step_line(row) for row in figures["steps"]]))
    if figures.get("field"):
        parts.append("Kernels of a radiance field, beside other ways to the same numbers on the same threads.\n")
        parts.append(_table(bench_field.HEADS, [bench_field.cells(row) for row in figures["field"]]))
    if figures.get("track"):
        parts.append("Tracking made-up people, whose truth is known; landmarks carry .7 px of noise a coordinate.\n")
        parts.append(_table(bench_track.HEADS, [bench_track.cells(row) for row in figures["track"]]))
    return "\n" + "\n".join(parts) + "\n"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _picture(row: Mapping[str, Any]) -> str:
    images = f"{row['images']} of " if row.get("images", 1) > 1 else ""
    return f"{images}{row['size']} x {row['size']}, {row['n']:,}"


def _ms(row: Mapping[str, Any], what: str) -> str:
    return f"{row[f'{what}ms_min']:.2f}, {row[f'{what}ms_median']:.2f}"


def _splat_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One line per case: with all threads, and beside it with one."""
    cases: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((_picture(row), row["isa"]), []).append(row)
    lines = []
    for case, found in cases.items():
        most, one = found[-1], next((row for row in found if row["threads"] == 1), None)
        cells = [text for what in ("forward_", "step_") for text in (_ms(most, what), _ms(one, what) if one else "")]
        lines.append((*case, *cells, f"{most['load']:.1f}"))
    return lines


def _posed_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    times = f"{row['ms_min']:.2f}, {row['ms_median']:.2f}", f"{1e3 * row['images'] / row['ms_median']:,.0f}"
    return (
        f"{row['size']} x {row['size']}, {row['n']:,}",
        str(row["images"]),
        row["isa"],
        str(row["threads"]),
        *times,
        f"{row['load']:.1f}",
    )


def _filmed_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    times = (_ms(row, ""), f"{1e3 / row['ms_median']:,.0f}", _ms(row, "ops_"), _ms(row, "torch_"))
    return _picture(row), str(row["threads"]), *times, f"{row['load']:.1f}"


def _against_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    least = {what: f"{row[f'ours_{what}_ms_min']:.2f} : {row[f'{what}_ms_min']:.1f}" for what in ("forward", "step")}
    times = {what: f"{row[f'times_{what}']:.0f}" for what in ("forward", "step")}
    name = {"reference": "torch reference"}.get(row["name"], row["name"])
    figures = (least["forward"], times["forward"], least["step"], times["step"], f"{row['load']:.1f}")
    return name, _picture(row), str(row["threads"]), *figures


def _step_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    parts = (f"{row['draw_ms']:.2f}", f"{row['backward_ms']:.2f}", f"{row['load']:.1f}")
    return _picture(row), row["perceptual"] or "none", str(row["threads"]), _ms(row, "step_"), *parts
