# SPDX-License-Identifier: Apache-2.0
"""What stands within a head's shell: never learned, coloured by what is well seen nearby.

Beside and behind a head no frame says anything. What training leaves there by chance would be seen from the side; this
is there instead, and whatever the shell has to show covers it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatar3d.avatar._hidden import Hidden
from avatar3d.avatar._scatter import CORE, SHELL

_NEIGHBOURS = 12
_WELL = 0.3  # of how much of a face's Gaussian is usually seen
_ON_PERSON = 0.9  # of its light
_STILL = ("means", "quats", "log_scales", "opacity_logits", "colours", "skin_logits")


class Core:
    """`hold` it after every step; `paint` it when it is known anew who is seen."""

    def __init__(self, group: Tensor, learned: Mapping[str, Tensor]) -> None:
        self.take(group, learned)

    def take(self, group: Tensor, learned: Mapping[str, Tensor]) -> None:
        """From now on these are the Gaussians, and the core stays as it is in them."""
        self.rows = (group == CORE).nonzero()[:, 0]
        self.free = (group != CORE).nonzero()[:, 0]
        self._kept = {name: learned[name].detach()[self.rows] for name in _STILL if name in learned}

    @torch.no_grad()
    def hold(self, learned: Mapping[str, Tensor]) -> None:
        for name, kept in self._kept.items():
            learned[name].data[self.rows] = kept

    @torch.no_grad()
    def paint(self, learned: Mapping[str, Tensor], group: Tensor, hidden: Hidden) -> None:
        """Mean colours of the nearest Gaussians of face and shell that are well seen, on the person and not beside."""
        on_person = (hidden.seen > _WELL * hidden.usual()) & (hidden.inside > _ON_PERSON * hidden.seen)
        well = ((group <= SHELL) & on_person).nonzero()[:, 0]
        if len(well) < _NEIGHBOURS or not len(self.rows):
            return
        means = learned["means"].detach().cpu().numpy()
        near = cKDTree(means[well.cpu()]).query(means[self.rows.cpu()], _NEIGHBOURS)[1]
        self._kept["colours"] = learned["colours"].detach()[well[torch.from_numpy(near).to(well.device)]].mean(1)
        self.hold(learned)
