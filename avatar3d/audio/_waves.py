# SPDX-License-Identifier: Apache-2.0
"""What `hubert` and `wav2vec2` share: networks that take the wave itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.audio._frames import STEP, Network, in_pieces
from avatar3d.records import Sound

_RECEPTIVE = 400  # samples that one row of the convolutions sees
_PIECE_S, _MARGIN_S = 20.0, 2.0
_SHORTEST = _RECEPTIVE + STEP
_TINY = 1e-7


class WaveFeature:
    """Rows of the last layer of a network on 16 kHz waves (contracts.Listen).

    Attention sees all of a piece; what of it matters lies near, so pieces overlap by 2 s on both sides.
    """

    def __init__(self, feature: str, hub_name: str, model: str, weights: Path | None) -> None:
        self._model = model
        self._net: Any = None  # loaded when it first listens
        self._network = Network(feature, hub_name, (feature,), weights)
        self.width = int(self._network.config["hidden_size"])
        self.look_ahead_s = _PIECE_S - _MARGIN_S
        self.identity = self._network.identity

    def __call__(self, sound: Sound) -> np.ndarray:
        """Rows [T,width] float32 at FPS, T = round(sound.seconds * FPS)."""
        return in_pieces(sound, self.width, _PIECE_S, _MARGIN_S, (_RECEPTIVE - 1) / 2, self._rows)

    @torch.no_grad()
    def _rows(self, samples: np.ndarray) -> np.ndarray:
        if self._net is None:
            self._net = self._network.loaded(self._model)
        # as these networks' own extractors do: zero mean, unit variance
        scaled = (samples - samples.mean()) / np.sqrt(samples.var() + _TINY)
        padded = np.pad(scaled, (0, max(_SHORTEST - len(scaled), 0))).astype(np.float32)
        said = self._net(torch.from_numpy(padded)[None]).last_hidden_state
        return np.asarray(said[0].float().numpy())
