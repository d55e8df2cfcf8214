# SPDX-License-Identifier: Apache-2.0
"""`avatar3d export`: a prepared capture for other programs, as cameras that stand around a still head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatar3d.data_prep.exchange import WRITERS, live_link
from avatar3d.errors import InputError
from avatar3d.recipes.prepare import reopened
from avatar3d.records import Watch, unwatched
from avatar3d.store import Work, replacing

DEFAULT = "nerfstudio"
CSV = "csv"  # what Live Link Face's format holds, without the sound beside it


def export(work: Work, out: Path, tool: str = DEFAULT, watch: Watch = unwatched) -> dict[str, Any]:
    """Writes the data folder of another program; what it holds is said at each format's `write`.

    Args:
        out: a folder that does not exist yet, or is empty; for CSV a file.
        tool: a name in `data_prep.exchange.WRITERS`, or CSV.

    Returns:
        "folder", "format", "frames" (those with a pose) and "left_out" (those that are not to be trusted).

    Raises:
        InputError: the work folder is not prepared, `out` is in use, or there is no such format.
    """
    if tool != CSV and tool not in WRITERS:
        raise InputError(f"no format named {tool!r} for a work folder", f"choose one of: {', '.join([*WRITERS, CSV])}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is in use", "name a new folder with -o")
    prepared = reopened(work)
    if tool == CSV:
        frames = live_link.save_track(out, prepared.track)
    else:
        with replacing(out) as part:
            part.mkdir(parents=True)
            frames = WRITERS[tool](part, prepared.capture, prepared.track, watch)
    left_out = len(prepared.capture.frames) - frames
    return {"folder": str(out), "format": tool, "frames": frames, "left_out": left_out}
