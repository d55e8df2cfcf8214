# SPDX-License-Identifier: Apache-2.0
"""wav2vec 2.0 (Baevski et al., 2020): rows of a network that spells English."""

from __future__ import annotations

from pathlib import Path

from avatar3d.audio._waves import WaveFeature

__all__ = ["Wav2Vec2"]


class Wav2Vec2(WaveFeature):
    """The last layer; of any size of this network, whose weights the user holds (contracts.Listen)."""

    def __init__(self, weights: Path | None = None) -> None:
        """
        Args:
            weights: the folder of the network; None: where the environment says, or the hub's cache.

        Raises:
            InputError: there are no weights, or those of another network.
        """
        super().__init__("wav2vec2", "facebook/wav2vec2-base-960h", "Wav2Vec2Model", weights)
