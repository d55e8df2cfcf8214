# SPDX-License-Identifier: Apache-2.0
"""The training window's controls, and what they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar3d.viewer.controls import NAMES, Controls
from avatar3d.viewer.curves import FIGURES, LOSS, Curve
from avatar3d.viewer.scene import BESIDE, Request

if TYPE_CHECKING:
    import viser

_NOTHING = "none yet"
_TURN_DEG = 30.0
_GAZE = 0.15  # eye widths
_GROUPS = ("brow", "eye", "cheek", "nose", "jaw", "mouth")
_COLOURS = ("#2dd4bf", "#fb923c", "#a78bfa", "#f472b6", "#60a5fa", "#facc15")


class Panel:
    """Sliders and boxes on a viser server.

    Args:
        heads: names to choose from.
        frames: of the film or clip.
        filmed: whether there is a film to show beside.
        changed: called whenever something else is asked for.
    """

    def __init__(
        self, server: viser.ViserServer, heads: Sequence[str], frames: int, filmed: bool, changed: Callable[[], None]
    ) -> None:
        gui = server.gui
        self._gui, self._changed = gui, changed
        self.said = gui.add_markdown("")
        names = list(heads) or [_NOTHING]
        self.head: Any = gui.add_dropdown("head", names, initial_value=names[0])
        self.frame: Any = gui.add_slider("frame", 0, max(frames - 1, 1), 1, 0)
        self.play = gui.add_checkbox("play", False)
        offered = BESIDE if filmed else BESIDE[:1]
        self.beside = gui.add_dropdown("beside", offered, initial_value=offered[filmed])
        reset = gui.add_button("let go of all sliders")
        with gui.add_folder("head and eyes"):
            self._turns = [gui.add_slider(name, -_TURN_DEG, _TURN_DEG, 0.5, 0.0) for name in ("yaw", "pitch", "roll")]
            self._lids = [gui.add_slider(f"{side} lid", 0.0, 1.0, 0.01, 0.0) for side in ("right", "left")]
            self._gaze = [gui.add_slider(f"gaze {way}", -_GAZE, _GAZE, 0.005, 0.0) for way in ("across", "down")]
        self._scores: dict[str, Any] = {}
        for group in _GROUPS:
            with gui.add_folder(group, expand_by_default=False):
                for name in (name for name in NAMES if name.startswith(group)):
                    self._scores[name] = gui.add_slider(_words(name), -1.0, 1.0, 0.01, 0.0)
        self._training = gui.add_folder("training", expand_by_default=False)
        self._plots: dict[str, Any] = {}
        reset.on_click(lambda _: self.let_go())
        for control in (self.head, self.frame, self.beside, *self._sliders):
            control.on_update(lambda _: changed())

    @property
    def _sliders(self) -> list[Any]:
        return [*self._turns, *self._lids, *self._gaze, *self._scores.values()]

    def let_go(self) -> None:
        """Every slider back to nothing."""
        for slider in self._sliders:
            if slider.value:
                slider.value = 0.0

    def offer(self, heads: Sequence[str], choose: str | None = None) -> None:
        """Other heads to choose from; `choose` is chosen."""
        if tuple(self.head.options) != tuple(heads):
            self.head.options = tuple(heads)
        if choose is not None and self.head.value != choose:
            self.head.value = choose

    def asked(self, width: int, height: int, cam_from_world: Any) -> Request:
        """What the controls ask for."""
        (yaw, pitch, roll), (right, left), (across, down) = (
            [slider.value for slider in group] for group in (self._turns, self._lids, self._gaze)
        )
        scores = {name: slider.value for name, slider in self._scores.items() if slider.value}
        controls = Controls(scores, yaw, pitch, roll, (right, left), (across, down))
        head = None if self.head.value == _NOTHING else self.head.value
        return Request(head, int(self.frame.value), width, height, controls, cam_from_world, self.beside.value)

    def plot(self, runs: Mapping[str, Mapping[str, Curve]]) -> None:
        """Draws the curves of trainings: the loss of each, and figures on frames that are not trained on."""
        for run, curves in runs.items():
            figures = {name.removeprefix(FIGURES): curve for name, curve in curves.items() if name.startswith(FIGURES)}
            if LOSS in curves:
                self._plot(f"{run}: loss", {LOSS: curves[LOSS]}, {"y": {"distr": 3}})
            if figures:
                self._plot(f"{run}: held out", figures, {})

    def _plot(self, title: str, curves: Mapping[str, Curve], scales: Mapping[str, Any]) -> None:
        steps = np.unique(np.concatenate([curve.steps for curve in curves.values()]))
        if len(steps) < 2:
            return
        data = (steps, *(np.interp(steps, curve.steps, _positive(curve.values, scales)) for curve in curves.values()))
        if title in self._plots:
            with suppress(ValueError):  # one that has just got another curve is drawn anew below
                self._plots[title].data = data
                return
            self._plots.pop(title).remove()
        series: list[Any] = [{"label": "step"}]
        series += [{"label": n, "stroke": c, "width": 2} for n, c in zip(curves, _COLOURS, strict=False)]
        axes: dict[str, Any] = {"x": {"time": False}, **scales}
        with self._training:
            self._plots[title] = self._gui.add_uplot(
                data,
                tuple(series),
                title=title,
                scales=axes,
                legend={"show": True},
                aspect=1.8,
            )


def _positive(values: np.ndarray, scales: Mapping[str, Any]) -> np.ndarray:
    # a logarithmic axis has no place for what was 0 for a moment
    return np.maximum(values, values[values > 0].min(initial=1.0) if scales else -np.inf)


def _words(name: str) -> str:
    """ "mouthSmileLeft" as it fits beside a slider."""
    words = re.sub(r"([A-Z])", r" \1", name).lower().split()
    return " ".join(words[1:]) or name
