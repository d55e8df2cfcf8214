# SPDX-License-Identifier: Apache-2.0
"""`avatar3d check`: what is good and bad about a video, each with its number and its remedy, before the long wait."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.data_prep._overlay import Drawing, drawn, image_tag
from avatar3d.data_prep._plots import lag_svg
from avatar3d.data_prep.check import Examined, Finding, checked, worst
from avatar3d.data_prep.quality import frame_errors, picture_of
from avatar3d.data_prep.sync import Lag, kept_lag
from avatar3d.recipes.prepare import PrepareSettings, measured
from avatar3d.records import Capture, Track, Watch, unwatched
from avatar3d.store import load_sound, read_json, replacing

PAGE = "check.html"
_FACE_PX = 264
_SAID = {"green": "good", "amber": "could be better", "red": "will hurt", "unknown": "not known"}
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5d6b7c;--page:#f5f6f8;--card:#fff;--line:#dfe3e9;
--green:#16885f;--amber:#b86e00;--red:#c8332b;--unknown:#7b8794}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#98a5b5;--page:#12161c;--card:#1a2029;--line:#2c3541;
--green:#4fcf9c;--amber:#f0b04f;--red:#ff7a70;--unknown:#8b98a8}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:940px;margin:0 auto;padding:40px 20px 72px}h1{font-size:28px;margin:0;letter-spacing:-.02em}
h2{font-size:17px;margin:34px 0 10px}p{color:var(--dim);margin:6px 0 0;max-width:70ch}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;overflow:hidden}
.row{display:grid;grid-template-columns:12px minmax(150px,1.2fr) minmax(130px,1fr) 2.4fr;gap:14px;padding:11px 16px;
border-top:1px solid var(--line);align-items:baseline}.row:first-child{border-top:0}
.dot{width:10px;height:10px;border-radius:5px;background:currentColor;align-self:center}
.value{font-variant-numeric:tabular-nums}.why{color:var(--dim);font-size:14px}.fix{display:block;color:var(--ink)}
.green{color:var(--green)}.amber{color:var(--amber)}.red{color:var(--red)}.unknown{color:var(--unknown)}
header{display:flex;gap:20px;align-items:center}header img{width:132px;border-radius:12px}
.plot{padding:14px}svg{display:block;width:100%;height:auto}svg polyline{fill:none;stroke:var(--green);stroke-width:1.6}
.grid{stroke:var(--line)}.cut{stroke:var(--dim);stroke-dasharray:2 3}.axis{fill:var(--dim);font-size:11px}
.best{fill:var(--amber)}
@media(max-width:640px){.row{grid-template-columns:12px 1fr}.value,.why{grid-column:2}}
"""


def check(
    video: Path, out: Path | None = None, settings: PrepareSettings | None = None, watch: Watch = unwatched
) -> dict[str, Any]:
    """Looks at a video and grades it.

    Args:
        out: a work folder, for check.html and so that `create` goes on from what was done here; None: nothing is kept.

    Returns:
        `{"video", "grade", "findings": {"picture", "motion", "sound"}, "lag", "page"}`; a finding has the fields of
        `avatar3d.data_prep.check.Finding`, the lag those of `avatar3d.data_prep.sync.Lag`.

    Raises:
        InputError: the video cannot be used at all.
    """
    with _folder(out) as folder:
        work, taken, landmarks, followed = measured(video, folder, settings or PrepareSettings(), watch)
        about = read_json(work.capture_json)
        crop = about["crop"]
        recorded = None if taken.sound is None else load_sound(work.audio)
        lag = kept_lag(work)
        examined = Examined(
            taken, landmarks, followed, recorded, lag, crop["side"] / crop["size"], about.get("other_faces")
        )
        findings = checked(video, examined)
        if out is not None:
            with replacing(folder / PAGE) as part:
                part.write_text(_page(video.name, findings, _face(taken, followed), lag), encoding="utf-8")
    return {
        "video": video.name,
        "grade": worst(finding for rows in findings.values() for finding in rows),
        "findings": {section: [asdict(finding) for finding in rows] for section, rows in findings.items()},
        "lag": None if lag is None else asdict(lag) | {"sure": lag.sure, "lags": lag.lags},
        "page": None if out is None else str(out / PAGE),
    }


def report(figures: Mapping[str, Any]) -> str:
    """The findings for the terminal: what to mend first, then the rest."""
    rows = [finding for section in figures["findings"].values() for finding in section]
    width = max(len(row["name"]) for row in rows)
    lines = []
    for grade in ("red", "amber", "unknown", "green"):
        for row in (row for row in rows if row["grade"] == grade):
            lines.append(f"{grade:<8}{row['name']:<{width}}  {row['value']}")
            if row["fix"]:
                lines.append(f"{'':<8}{'':<{width}}  {row['why']}: {row['fix']}")
    return "\n".join(lines)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    try:
        with tempfile.TemporaryDirectory(prefix="avatar3d-") as folder:
            yield Path(folder) / "work"
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing is kept without -o, so the same command begins anew") from None


def _face(taken: Capture, followed: Track) -> np.ndarray:
    """The frame that fits best, as it was cut out, with the rig over it [S,S,3]."""
    errors = frame_errors(followed)
    best = int(np.nanargmin(np.where(followed.confidence > 0, errors, np.nan)))
    return drawn(Drawing(taken.frames[best], picture_of(followed, slice(best, best + 1))[0]), _FACE_PX)


def _page(name: str, findings: Mapping[str, list[Finding]], face: np.ndarray, lag: Lag | None) -> str:
    every = [finding for rows in findings.values() for finding in rows]
    grade = worst(every)
    count = {each: sum(finding.grade == each for finding in every) for each in _SAID}
    summary = ", ".join(f"{number} {_SAID[each]}" for each, number in count.items() if number)
    body = "".join(
        f"<h2>{section.capitalize()}</h2><section>{''.join(map(_row, rows))}</section>"
        for section, rows in findings.items()
    )
    if lag is not None:
        body += (
            f"<h2>How well the sound fits the mouth</h2><section class=plot>{lag_svg(lag)}</section><p>Each point is "
            "the sound moved so far to either side; how well it foretells the mouth is judged on parts of the clip "
            "that it was not learned from. A dot marks a finding that is sure.</p>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: check</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f'<header>{image_tag(face)}<div><h1>{escape(name)} <span class="{grade}">●</span></h1><p>{summary}.</p>'
        f"</div></header>{body}</main></body></html>\n"
    )


def _row(finding: Finding) -> str:
    fix = f'<span class="fix">{escape(finding.fix)}</span>' if finding.fix else ""
    return (
        f'<div class="row"><span class="dot {finding.grade}" title="{_SAID[finding.grade]}"></span>'
        f'<b>{escape(finding.name)}</b><span class="value">{escape(finding.value)}</span>'
        f'<span class="why">{escape(finding.why)}{fix}</span></div>'
    )
