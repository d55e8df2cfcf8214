# SPDX-License-Identifier: Apache-2.0
"""Figures by networks that nobody may pass on: computed where the user holds their weights, absent elsewhere."""

from avatar3d.metrics.networks.witness import FILES, NetworkFigures, Witness

__all__ = ["FILES", "NetworkFigures", "Witness"]
