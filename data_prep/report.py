# SPDX-License-Identifier: Apache-2.0
"""report.html: one file that opens anywhere and shows how well a capture was tracked and cut out."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.data_prep._cut_sheet import mask_sheet, temporal_overlap
from avatar3d.data_prep._overlay import Drawing, drawn, fitted, image_tag, sheet
from avatar3d.data_prep._plots import curves_svg, lag_svg, legend
from avatar3d.data_prep._strip import SIGMAS, basis_strip, shares
from avatar3d.data_prep.quality import frame_errors, picture_of
from avatar3d.data_prep.sync import Lag, in_words, kept_lag
from avatar3d.face.lips import lip_opening
from avatar3d.geometry import matrix_from_quat
from avatar3d.media import VideoWriter
from avatar3d.records import Capture, Track
from avatar3d.store import Work, replacing

REPORT_VERSION = 2
_VIDEO_PX, _VIDEO_S, _VIDEO_QUALITY = 320, 20.0, 27
_SHEET_PX, _SHEET_COUNT = 168, 5
_FIRST_ROWS = 40  # of the list of bad frames; the rest is folded away
_BASIS_COUNT = 8

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5d6b7c;--page:#f5f6f8;--card:#fff;--line:#dfe3e9;
--c0:#0f8f83;--c1:#d9730d;--c2:#6d5bd0;--held:#0f8f8314}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#98a5b5;--page:#12161c;--card:#1a2029;--line:#2c3541;
--c0:#4fd1c5;--c1:#f6a556;--c2:#a99bf5;--held:#4fd1c51c}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1000px;margin:0 auto;padding:40px 20px 72px}h1{font-size:28px;margin:0 0 2px;letter-spacing:-.02em}
h2{font-size:17px;margin:36px 0 10px}p{margin:0 0 10px;color:var(--dim);max-width:72ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:12px}.tile{padding:14px 16px}
.tile b{display:block;font-size:20px;font-weight:600;font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.tile span{color:var(--dim);font-size:13px}.card{padding:14px;margin:0 0 12px;overflow:hidden}
.pair{display:grid;grid-template-columns:minmax(0,340px) 1fr;gap:20px;align-items:center}
@media(max-width:640px){.pair{grid-template-columns:1fr}}
video,img,svg{display:block;width:100%;border-radius:6px}video{background:#000}svg{height:auto}
svg polyline{fill:none;stroke-width:1.3;stroke-linejoin:round}.c0{stroke:var(--c0);color:var(--c0)}
.c1{stroke:var(--c1);color:var(--c1)}.c2{stroke:var(--c2);color:var(--c2)}
.grid{stroke:var(--line)}.cut{stroke:var(--dim);stroke-width:.6;stroke-dasharray:2 3}.held{fill:var(--held)}
.axis{fill:var(--dim);font-size:11px}.key{margin-right:14px;font-size:13px}
.key::before{content:"";display:inline-block;width:12px;height:3px;border-radius:2px;background:currentColor;
margin:0 6px 4px 0}.head{display:flex;justify-content:space-between;font-size:14px;margin-bottom:6px}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{text-align:left;padding:5px 10px 5px 0;
border-bottom:1px solid var(--line)}th{color:var(--dim);font-weight:500}
td:first-child{font-variant-numeric:tabular-nums}summary{cursor:pointer;padding:8px 0;color:var(--dim);font-size:14px}
.strip{display:grid;grid-template-columns:repeat(var(--n),1fr);text-align:center;color:var(--dim);font-size:12px}
.best{fill:currentColor}@media(max-width:640px){.strip{font-size:9px}}
"""


def write_report(
    work: Work, capture: Capture, track: Track, figures: Mapping[str, Any], triangles: np.ndarray | None = None
) -> Path:
    """Writes report.html into a work folder: figures, overlay video, curves, masks, basis, worst and excluded frames.

    One file that asks for no other, of a few MB and in little memory however long the capture is.

    Args:
        figures: of `track_quality`.
        triangles: [N,3] of the rig's vertices, for the pictures of its basis; None: without them.
    """
    body = [
        _header(work, capture, figures),
        _tiles(figures),
        _video(capture, track),
        _curves(capture, track),
        _in_step(kept_lag(work)),
        _cut_outs(capture, track),
        "" if triangles is None else _basis(track, triangles),
        _worst(capture, track),
        _bad_frames(figures["bad_frames"], track.confidence, capture.fps),
    ]
    title = escape(f"{work.path.name}: tracking")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    with replacing(work.report) as part:
        part.write_text(page, encoding="utf-8")
    return work.report


def _header(work: Work, capture: Capture, figures: Mapping[str, Any]) -> str:
    frames, height, width = capture.frames.shape[:3]
    shots = f", {len(capture.cuts) + 1} shots" if capture.cuts else ""
    spoken = "" if capture.sound is None else escape(in_words(kept_lag(work)).capitalize()) + "."
    lens = "measured" if figures["focal_observable"] else "assumed, since the head turns too little to show it"
    return (
        f"<h1>{escape(work.path.name)}</h1><p>{frames} frames of {width}×{height} px at {capture.fps:g} a second, "
        f"{frames / capture.fps:.1f} s{shots}. The rig was fitted on the first {figures['fitted_frames']} frames; the "
        f"rest is held out (shaded below). Focal length {figures['focal_px'] / width:.2f} picture widths, {lens}. "
        f"{spoken}</p>"
    )


def _tiles(figures: Mapping[str, Any]) -> str:
    yaw = figures["yaw_deg"]
    rows = [
        (_number(figures["landmark_rms_px"], " px"), "landmark error, training"),
        (_number(figures["landmark_rms_px_held_out"], " px"), "landmark error, held out"),
        (_number(figures["landmark_rms_px_lips_held_out"], " px"), "lips, held out"),
        (_number(figures["jitter_pct_iod"], " %"), f"jitter, {_number(figures['jitter_pct_iod_seen'], ' %')} as seen"),
        (f"{yaw[0]:.0f}° to {yaw[1]:.0f}°", "yaw"),
        (f"{figures['found']} of {figures['frames']}", "frames with a face"),
    ]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in rows)
        + "</div><p>Jitter is the third difference over time of points on bone, in per cent of the distance between "
        "the eyes' outer corners.</p>"
    )


def _video(capture: Capture, track: Track) -> str:
    frames = min(len(capture.frames), round(_VIDEO_S * capture.fps))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overlay.mp4"
        rig = picture_of(track, slice(frames))
        first = _overlaid(capture, track, rig, 0)
        with VideoWriter(path, first.shape[1], first.shape[0], capture.fps, quality=_VIDEO_QUALITY) as writer:
            for frame in range(frames):
                writer.write(_overlaid(capture, track, rig, frame))
        data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<h2>The rig over the first {frames / capture.fps:.0f} s</h2><div class="card pair">'
        f'<video controls loop muted playsinline src="data:video/mp4;base64,{data}"></video>'
        "<p>Outlines are the person's own mean face moved by the expression basis and the head's pose. They should sit "
        "on lips, lids and jaw and never swim. Red: a frame that is left out.</p></div>"
    )


def _overlaid(capture: Capture, track: Track, rig: np.ndarray, frame: int) -> np.ndarray:
    return drawn(Drawing(capture.frames[frame], rig[frame], trusted=bool(track.confidence[frame] > 0)), _VIDEO_PX)


def _curves(capture: Capture, track: Track) -> str:
    motion = track.motion
    opening = lip_opening(track.neutral, track.basis, motion.expression)
    seen = np.where(track.confidence > 0, 1.0, np.nan)
    turns = {name: angle * seen for name, angle in _angles(motion.head).items()}
    panels: list[tuple[str, dict[str, np.ndarray], str, tuple[float, float] | None]] = [
        ("Head", turns, "°", None),
        ("Mouth opening", {"inner lips": opening * 100 * seen}, " mm", None),
        ("Lids", {"right": motion.blink[:, 0] * seen, "left": motion.blink[:, 1] * seen}, "", (-0.05, 1.05)),
        ("Confidence", {"of the frame": track.confidence}, "", (-0.05, 1.05)),
    ]
    return "<h2>Over time</h2>" + "".join(
        f'<div class="card"><div class="head"><b>{title}</b><span>{legend(list(curves))}</span></div>'
        f"{curves_svg(curves, motion.fps, unit, capture.cuts, track.fitted_frames, bounds)}</div>"
        for title, curves, unit, bounds in panels
    )


def _angles(head: np.ndarray) -> dict[str, np.ndarray]:
    rotation = matrix_from_quat(torch.from_numpy(head[:, :4]).double()).numpy()
    out = rotation[:, :, 2]
    return {
        "yaw": np.rad2deg(np.arctan2(out[:, 0], -out[:, 2])),
        "pitch": np.rad2deg(np.arctan2(out[:, 1], np.hypot(out[:, 0], out[:, 2]))),
        "roll": np.rad2deg(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])),
    }


def _cut_outs(capture: Capture, track: Track) -> str:
    if capture.masks is None or capture.background is None:
        return ""
    steady = temporal_overlap(capture)
    kept = "" if steady is None else f" Where the picture stands still, {100 * steady:.1f} % of the mask stays."
    parts = "face blue, hair purple, mouth yellow, neck green, torso red"
    return (
        f'<h2>Person and room</h2><div class="card">{image_tag(mask_sheet(capture, track, _SHEET_COUNT, _SHEET_PX))}'
        f"</div><p>Parts ({parts}), the person on colours that no room has, and the hair's edge close by.{kept}</p>"
        f'<div class="card pair">{image_tag(fitted(capture.background, 2 * _SHEET_PX))}'
        "<p>The room without the person. Where the person never moved away it is a guess.</p></div>"
    )


def _in_step(lag: Lag | None) -> str:
    if lag is None:
        return ""
    return (
        f'<h2>Sound and picture</h2><div class="card"><div class="head"><b>{escape(in_words(lag).capitalize())}</b>'
        f"</div>{lag_svg(lag)}</div><p>How well the sound foretells the mouth where it is moved to either side, on "
        f"parts of the clip that it was not learned from. The top stands {lag.height:.2f} above all that is further "
        f"off; {lag.least_height:.2f} are asked for in {lag.seconds:.0f} s, since chance makes tops too.</p>"
    )


def _basis(track: Track, triangles: np.ndarray) -> str:
    share = shares(track)
    chosen = np.argsort(-share, kind="stable")[:_BASIS_COUNT]
    names = ["neutral", *(f"{index + 1}: {100 * share[index]:.0f} %" for index in chosen)]
    heads = "".join(f"<span>{name}</span>" for name in names)
    return (
        f'<h2>What the face can do</h2><div class="card"><div class="strip" style="--n:{len(names)}">{heads}</div>'
        f"{image_tag(basis_strip(track, triangles, chosen), 'PNG')}</div><p>The person's mean face, and the components "
        f"that move it most, each at -{SIGMAS} and +{SIGMAS} of its usual deviation: from the front, then from the "
        "side. The colour shows what moves; per cent is the share in all motion of the face.</p>"
    )


def _worst(capture: Capture, track: Track) -> str:
    errors = frame_errors(track)
    worst = np.argsort(np.where(np.isfinite(errors), -errors, np.inf))[: _SHEET_COUNT + 1]
    rig, seen = picture_of(track, worst), track.landmarks.points[worst, :, :2]
    pictures = [
        drawn(Drawing(capture.frames[frame], rig[place], seen[place], bool(track.confidence[frame] > 0)), _SHEET_PX)
        for place, frame in enumerate(worst)
    ]
    names = ", ".join(f"{frame} ({errors[frame]:.2f} px)" for frame in worst)
    shown = image_tag(sheet(pictures))
    return f'<h2>Worst frames</h2><div class="card">{shown}</div><p>Frames {names}. Dots: landmarks.</p>'


def _bad_frames(rows: Iterable[Mapping[str, Any]], confidence: np.ndarray, fps: float) -> str:
    runs = _runs(rows, confidence)
    if not runs:
        return "<h2>Frames not trusted</h2><p>None: every frame shows the face and fits the rig.</p>"
    out = sum(last - first + 1 for first, last, _, left_out in runs if left_out)
    lines = [
        f"<tr><td>{first}{'' if first == last else f' to {last}'}</td><td>{first / fps:.2f} s</td>"
        f"<td>{escape(reason)}</td><td>{'left out' if left_out else 'counts less'}</td></tr>"
        for first, last, reason, left_out in runs
    ]
    more = f"<details><summary>and {len(lines) - _FIRST_ROWS} more</summary>{_table(lines[_FIRST_ROWS:])}</details>"
    return (
        f"<h2>Frames not trusted</h2><p>{out} of {len(confidence)} frames are left out.</p>"
        f'<div class="card">{_table(lines[:_FIRST_ROWS])}{more if len(lines) > _FIRST_ROWS else ""}</div>'
    )


def _table(lines: Sequence[str]) -> str:
    return f"<table><tr><th>frames</th><th>at</th><th>why</th><th></th></tr>{''.join(lines)}</table>"


def _runs(rows: Iterable[Mapping[str, Any]], confidence: np.ndarray) -> list[tuple[int, int, str, bool]]:
    """Neighbouring bad frames with one reason and fate as (first, last, reason, left out).

    Figures in brackets do not part them.
    """
    numbered = [
        (position, row["frame"], row["reason"].split(" (")[0], bool(confidence[row["frame"]] == 0))
        for position, row in enumerate(rows)
    ]
    groups = [list(group) for _, group in groupby(numbered, key=lambda row: (row[1] - row[0], *row[2:]))]
    return [(group[0][1], group[-1][1], *group[0][2:]) for group in groups]


def _number(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.2f}{unit}"
