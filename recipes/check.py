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

from avatar3d.data_prep.check import Examined, Finding, checked, worst
from avatar3d.data_prep.sync import kept_lag
from avatar3d.recipes.prepare import PrepareSettings, measured
from avatar3d.records import Watch, unwatched
from avatar3d.store import load_sound, read_json, replacing

PAGE = "check.html"
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
@media(max-width:640px){.row{grid-template-columns:12px 1fr}.value,.why{grid-column:2}}
"""


def check(
    video: Path, out: Path | None = None, settings: PrepareSettings | None = None, watch: Watch = unwatched
) -> dict[str, Any]:
    """Looks at a video and grades it.

    Args:
        out: a work folder, for check.html and so that `create` goes on from what was done here; None: nothing is kept.

    Returns:
        `{"video", "grade", "findings": {"picture", "motion", "sound"}, "page"}`; a finding has the fields of
        `avatar3d.data_prep.check.Finding`.

    Raises:
        InputError: the video cannot be used at all.
    """
    with _folder(out) as folder:
        work, taken, landmarks, followed = measured(video, folder, settings or PrepareSettings(), watch)
        crop = read_json(work.capture_json)["crop"]
        recorded = None if taken.sound is None else load_sound(work.audio)
        examined = Examined(taken, landmarks, followed, recorded, kept_lag(work), crop["side"] / crop["size"])
        findings = checked(video, examined)
        if out is not None:
            with replacing(folder / PAGE) as part:
                part.write_text(_page(video.name, findings), encoding="utf-8")
    return {
        "video": video.name,
        "grade": worst(finding for rows in findings.values() for finding in rows),
        "findings": {section: [asdict(finding) for finding in rows] for section, rows in findings.items()},
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
    with tempfile.TemporaryDirectory(prefix="avatar3d-") as folder:
        yield Path(folder) / "work"


def _page(name: str, findings: Mapping[str, list[Finding]]) -> str:
    every = [finding for rows in findings.values() for finding in rows]
    grade = worst(every)
    count = {each: sum(finding.grade == each for finding in every) for each in _SAID}
    summary = ", ".join(f"{number} {_SAID[each]}" for each, number in count.items() if number)
    body = "".join(
        f"<h2>{section.capitalize()}</h2><section>{''.join(map(_row, rows))}</section>"
        for section, rows in findings.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: check</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f'<h1>{escape(name)} <span class="{grade}">●</span></h1><p>{summary}.</p>{body}</main></body></html>\n'
    )


def _row(finding: Finding) -> str:
    fix = f'<span class="fix">{escape(finding.fix)}</span>' if finding.fix else ""
    return (
        f'<div class="row"><span class="dot {finding.grade}" title="{_SAID[finding.grade]}"></span>'
        f'<b>{escape(finding.name)}</b><span class="value">{escape(finding.value)}</span>'
        f'<span class="why">{escape(finding.why)}{fix}</span></div>'
    )
