# SPDX-License-Identifier: Apache-2.0
"""Curves over time as inline SVG, coloured by the page's style sheet (classes c0, c1, c2, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from avatar3d.data_prep.sync import Lag

_WIDTH, _HEIGHT = 920, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 24
_MOST_POINTS = 1200


def curves_svg(
    curves: Mapping[str, np.ndarray],
    fps: float,
    unit: str,
    cuts: Sequence[int] = (),
    held_out: int | None = None,
    bounds: tuple[float, float] | None = None,
) -> str:
    """One panel with named curves [T] over seconds.

    Args:
        unit: of the values, written at the axis.
        cuts: frames marked by a thin line; held_out: the frame from which the panel is shaded.
        bounds: lowest and highest value shown; None fits the curves.
    """
    frames = len(next(iter(curves.values())))
    low, high = bounds or _bounds(list(curves.values()))
    across = _Axis(0.0, max(frames - 1, 1), _LEFT, _WIDTH - _RIGHT)
    up = _Axis(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(", ".join(curves))} over time">']
    if held_out is not None and held_out < frames:
        start = across(held_out)
        size = f'width="{_WIDTH - _RIGHT - start:.1f}" height="{_HEIGHT - _BOTTOM - _TOP}"'
        parts.append(f'<rect class="held" x="{start:.1f}" y="{_TOP}" {size}/>')
    parts += _grid(across, up, frames / fps, fps, unit)
    parts += [
        f'<line class="cut" x1="{across(cut):.1f}" x2="{across(cut):.1f}" y1="{_TOP}" y2="{up.start}"/>' for cut in cuts
    ]
    for number, values in enumerate(curves.values()):
        parts += [f'<polyline class="c{number}" points="{points}"/>' for points in _points(values, across, up)]
    return "".join([*parts, "</svg>"])


def legend(names: Sequence[str]) -> str:
    """The names of a panel's curves in their colours."""
    return "".join(f'<span class="key c{number}">{escape(name)}</span>' for number, name in enumerate(names))


class _Axis:
    """A straight map from values to px."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def _bounds(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(curve, float)[np.isfinite(curve)] for curve in curves])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _grid(across: _Axis, up: _Axis, seconds: float, fps: float, unit: str) -> list[str]:
    lines = []
    for value in _round_steps(up.low, up.high, 4):
        y = up(value)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(
            f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}{escape(unit)}</text>'
        )
    for second in _round_steps(0, seconds, 8):
        x = across(second * fps)
        if x < _WIDTH - 30:
            lines.append(f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{second:g} s</text>')
    return lines


def _round_steps(low: float, high: float, about: int) -> list[float]:
    """Round values between two others (+ 0.0, since zero may come out negative)."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [round(float(value), 10) + 0.0 for value in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _points(values: np.ndarray, across: _Axis, up: _Axis) -> list[str]:
    """The curve as lists of points, broken where it is not finite.

    Where there are more values than px, a stretch shows as its lowest and its highest, so that no blink goes missing.
    """
    stride = max(1, len(values) // _MOST_POINTS)
    runs: list[list[str]] = [[]]
    for start in range(0, len(values), stride):
        stretch = np.asarray(values[start : start + stride], float)
        known = stretch[np.isfinite(stretch)]
        if not len(known):
            runs.append([])
            continue
        for value in dict.fromkeys((float(known.min()), float(known.max()))):
            runs[-1].append(f"{across(start):.1f},{up(min(max(value, up.low), up.high)):.1f}")
    return [" ".join(run) for run in runs if run]


def lag_svg(lag: Lag) -> str:
    """How well the sound foretells the mouth [correlation] at each lag [frames], and where it does so best."""
    lags, curve = np.array(lag.lags), np.array(lag.curve)
    low, high = min(float(curve.min()), 0.0), max(float(curve.max()), 0.5)
    across, up = _Axis(lags[0], lags[-1], _LEFT, _WIDTH - _RIGHT), _Axis(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="fit of sound and mouth over the lag">']
    for value in _round_steps(low, high, 3):
        y = up(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for frame in (-10, -5, 0, 5, 10):
        label = "in step" if frame == 0 else f"{abs(frame)} {'late' if frame > 0 else 'early'}"
        parts.append(
            f'<text class="axis" x="{across(frame):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{label}</text>'
        )
    zero, best = across(0), across(lag.frames)
    parts.append(f'<line class="cut" x1="{zero:.1f}" x2="{zero:.1f}" y1="{_TOP}" y2="{up.start}"/>')
    points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(lags, curve, strict=True))
    parts.append(f'<polyline class="c0" points="{points}"/>')
    if lag.sure:
        parts.append(f'<circle class="c1 best" cx="{best:.1f}" cy="{up(lag.correlation):.1f}" r="4"/>')
    return "".join([*parts, "</svg>"])
