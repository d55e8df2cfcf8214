# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench track`: how well and how fast the tracker does on made-up people, whose truth is known."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from avatar3d import assets
from avatar3d.data_prep.synthetic.judged import judged
from avatar3d.data_prep.synthetic.sighting import sighting
from avatar3d.data_prep.track import track
from avatar3d.face.canonical import load_canonical
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures
from avatar3d.records import Progress, Watch, unwatched


@dataclass(frozen=True)
class TrackCase:
    """One made-up person; landmarks carry noise of .7 px a coordinate on pictures of 512 px."""

    frames: int
    yaw_deg: float  # the head swings about so far to either side
    focal_px: float
    seed: int  # another face, other expressions, another path


CASES = (
    *(TrackCase(300, 20.0, 1200.0, seed) for seed in (1, 2, 3)),
    TrackCase(300, 20.0, 700.0, 1),
    TrackCase(300, 20.0, 2000.0, 1),
    TrackCase(300, 6.0, 1200.0, 1),
    TrackCase(1500, 20.0, 1200.0, 1),
)


def bench_track(cases: tuple[TrackCase, ...] = CASES, watch: Watch = unwatched) -> dict[str, Any]:
    """Tracks made-up landmarks and compares with what they were made from.

    Returns:
        `{"rows": [...]}`, each row a `TrackCase`, the figures of `Judged`, and `track_s` (wall) and `track_cpu_s`.

    Raises:
        InputError: the canonical face cannot be had.
    """
    face = load_canonical(assets.find("face_landmarker.task", watch))
    rows = []
    for done, case in enumerate(cases):
        watch(Progress("bench", done / len(cases), f"{case.frames} frames, yaw {case.yaw_deg:g} deg"))
        truth = sighting(face, case.frames, case.yaw_deg, case.focal_px, seed=case.seed)
        started, spent = time.perf_counter(), time.process_time()
        found = track(truth.capture, truth.landmarks, face)
        times = {"track_s": time.perf_counter() - started, "track_cpu_s": time.process_time() - spent}
        rows.append({**asdict(case), **as_figures(judged(found, truth)), **times, "load": os.getloadavg()[0]})
    watch(Progress("bench", 1.0))
    return {"rows": rows}


HEADS = (
    "frames, yaw, focal px, seed", "focal", "rotation, deg", "jitter, deg a frame", "mouth r, gain", "blink r",
    "landmarks, px", "s (CPU s)",
)  # fmt: skip


def report_track(figures: Mapping[str, Any]) -> str:
    """The rows as a table for the terminal."""
    return table([HEADS, *map(cells, figures["rows"])])


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row under HEADS."""
    return (
        f"{row['frames']}, {row['yaw_deg']:g}, {row['focal_px']:g}, {row['seed']}",
        f"{row['focal_error_pct']:+.1f} %" if row["focal_observable"] else "not observable",
        f"{row['rotation_error_deg']:.2f}",
        f"{row['rotation_jitter_deg']:.3f}",
        f"{row['mouth_r']:.4f}, {row['mouth_gain']:.3f}",
        f"{row['blink_r']:.3f}",
        f"{row['landmark_rms_px']:.3f}",
        f"{row['track_s']:.1f} ({row['track_cpu_s']:.1f})",
    )
