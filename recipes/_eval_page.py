# SPDX-License-Identifier: Apache-2.0
"""eval.html: one file that asks for no other and shows what the figures of `eval` look like."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatar3d.recipes._contender import TRACKED, Contender, ranked
from avatar3d.recipes._eval_table import SAYS, Column, cost, figure_columns, orbit_columns, orbit_title
from avatar3d.recipes._judging import HeldOut, Verdict
from avatar3d.recipes._sheets import difference
from avatar3d.store import load_picture, replacing

_JPEG_QUALITY = 88
_WORST = 3  # frames of each head
_LARGEST_FILM = 24_000_000  # bytes; a longer one lies beside the page

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5d6b7c;--page:#f5f6f8;--card:#fff;--line:#dfe3e9}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#98a5b5;--page:#12161c;--card:#1a2029;--line:#2c3541}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1200px;margin:0 auto;padding:36px 20px 72px}h1{font-size:28px;margin:0}
h2{font-size:18px;margin:36px 0 8px}
h3{font-size:15px;margin:18px 0 6px}p{margin:0 0 10px;color:var(--dim);max-width:78ch}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px;margin:0 0 12px;
overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
td,th{text-align:right;padding:3px 0 3px 18px;border-bottom:1px solid var(--line);white-space:nowrap}
td:first-child,th:first-child{text-align:left;padding-left:0}th{color:var(--dim);font-weight:500}
video,img{display:block;max-width:100%;border-radius:6px}video{width:100%;background:#000}
.row{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:8px;margin:0 0 4px}
.slider{position:relative;display:inline-block;max-width:100%}.slider img+img{position:absolute;inset:0;
clip-path:inset(0 0 0 var(--at,50%))}.slider::after{content:"";position:absolute;top:0;bottom:28px;left:var(--at,50%);
width:2px;background:#fff;mix-blend-mode:difference}.slider input{display:block;width:100%;margin:6px 0}
"""


@dataclass(frozen=True)
class Shown:
    """A head with what was found of its self_tracked frames, and where its sheets lie."""

    contender: Contender
    verdict: Verdict
    run: Path


def write_page(path: Path, report: Mapping[str, Any], heads: Sequence[Shown], unseen: HeldOut, film: Path) -> None:
    """Writes the page: film, figures, and of each head the worst frames with differences, a slider and other sides."""
    title = escape(f"{report['capture']}: how good the heads are")
    seconds = report["frames"] / unseen.capture.fps
    notes = "".join(f"<p>{escape(note)}</p>" for note in (SAYS[report["motion"]], *report["notes"]))
    body = [
        f"<h1>{title}</h1><p>Judged on {report['frames']} frames ({seconds:.1f} s) from frame {report['first_frame']} "
        "on, which training never saw. Pictures are as the renderer leaves them.</p>",
        _film(film),
        "<h2>Figures</h2>",
        _table(figure_columns(report)),
        notes,
        f"<h2>{escape(orbit_title().capitalize())}</h2>",
        _table(orbit_columns(report["heads"])),
        *(_head(one, report["heads"][one.contender.name], unseen) for one in heads),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _film(film: Path) -> str:
    inside = film.stat().st_size <= _LARGEST_FILM
    source = f"data:video/mp4;base64,{_base64(film.read_bytes())}" if inside else film.name
    return f'<h2>Side by side</h2><div class="card"><video controls src="{escape(source)}"></video></div>'


def _table(columns: Sequence[Column]) -> str:
    """Columns of head, production and cells; the first one holds the measures' names."""
    head = "".join(f"<th>{escape(name)}<br>{escape(production)}</th>" for name, production, _ in columns)
    rows = zip(*(cells for *_, cells in columns), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="card"><table><tr>{head}</tr>{body}</table></div>'


def _head(one: Shown, figures: Mapping[str, Any], unseen: HeldOut) -> str:
    order, by = ranked(one.verdict.looks)
    made = one.contender
    middle = int(order[len(order) // 2])
    rows = [_row(made, int(index), float(by[index]), unseen) for index in order[:_WORST]]
    orbit = _image(load_picture(one.run / "orbit.png"), "from other sides")
    return (
        f"<h2>{escape(made.name)}</h2><p>{escape(cost(figures))}</p>"
        f"<h3>A usual frame ({unseen.start + middle}): real on the left, made on the right</h3>"
        f'<div class="card">{_slider(unseen.real(middle), made.player.frame(made.codes[middle]))}</div>'
        f'<h3>The worst frames: real, made, difference</h3><div class="card">{"".join(rows)}</div>'
        f'<h3>From other sides</h3><div class="card">{orbit}</div>'
    )


def _row(made: Contender, index: int, db: float, unseen: HeldOut) -> str:
    real, drawn = unseen.real(index), made.player.frame(made.codes[index])
    pictures = (real, "real"), (drawn, "made"), (difference(real, drawn), "difference")
    cells = "".join(_image(picture, name) for picture, name in pictures)
    return f'<p>frame {unseen.start + index}, head {db:.1f} dB ({TRACKED})</p><div class="row">{cells}</div>'


def _slider(real: np.ndarray, made: np.ndarray) -> str:
    return (
        f'<div class="slider">{_image(real, "real")}{_image(made, "made")}'
        '<input type="range" value="50" aria-label="how much of the real frame is shown" '
        "oninput=\"this.parentNode.style.setProperty('--at',this.value+'%')\"></div>"
    )


def _image(picture: np.ndarray, name: str) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{_base64(file.getvalue())}">'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
