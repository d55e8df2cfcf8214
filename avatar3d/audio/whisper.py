# SPDX-License-Identifier: Apache-2.0
"""Whisper's encoder (Radford et al., 2022): rows that hold what is said in any of a hundred languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.audio._frames import STEP, Network, in_pieces
from avatar3d.errors import InputError
from avatar3d.records import SAMPLE_RATE, Sound

__all__ = ["Whisper"]

_PIECE_S, _MARGIN_S = 30.0, 2.0
_POSITIONS = round(_PIECE_S * SAMPLE_RATE) // STEP


class Whisper:
    """The encoder's last layer; of any size, whose weights the user holds (contracts.Listen).

    It hears 30 s at a time, silence where there is less, so that a row may know of sound much later than itself.
    """

    def __init__(self, weights: Path | None = None) -> None:
        """
        Args:
            weights: the folder of the network; None: where the environment says, or the hub's cache.

        Raises:
            InputError: there are no weights, or those of another network.
        """
        self._network = Network("whisper", "openai/whisper-tiny.en", ("whisper",), weights)
        config = self._network.config
        if config.get("max_source_positions", _POSITIONS) != _POSITIONS:
            raise InputError(f"{self._network.folder}: hears other than 30 s", "choose one of OpenAI's own sizes")
        self.width = int(config["d_model"])
        self.look_ahead_s = _PIECE_S - _MARGIN_S
        self.identity = self._network.identity
        self._parts: tuple[Any, Any] | None = None

    def __call__(self, sound: Sound) -> np.ndarray:
        """Rows [T,width] float32 at FPS, T = round(sound.seconds * FPS)."""
        return in_pieces(sound, self.width, _PIECE_S, _MARGIN_S, (STEP - 1) / 2, self._rows)

    @torch.no_grad()
    def _rows(self, samples: np.ndarray) -> np.ndarray:
        if self._parts is None:
            encoder = self._network.loaded("WhisperModel").encoder
            import transformers

            bands = self._network.config["num_mel_bins"]
            self._parts = encoder, transformers.WhisperFeatureExtractor(feature_size=bands)
        encoder, extractor = self._parts
        spectrum = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        said = encoder(spectrum).last_hidden_state[0].float().numpy()
        return np.asarray(said[: max(-(-len(samples) // STEP), 1)])
