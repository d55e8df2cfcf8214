# SPDX-License-Identifier: Apache-2.0
"""HuBERT (Hsu et al., 2021): rows that name the sounds of speech, learned without words."""

from __future__ import annotations

from pathlib import Path

from avatar3d.audio._waves import WaveFeature

__all__ = ["Hubert"]


class Hubert(WaveFeature):
    """The last layer; of any size of this network, whose weights the user holds (contracts.Listen)."""

    def __init__(self, weights: Path | None = None) -> None:
        """
        Args:
            weights: the folder of the network; None: where the environment says, or the hub's cache.

        Raises:
            InputError: there are no weights, or those of another network.
        """
        super().__init__("hubert", "facebook/hubert-base-ls960", "HubertModel", weights)
