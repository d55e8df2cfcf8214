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
from avatar3d.avatar._nape import behind_ears, looked_up
from avatar3d.avatar._scatter import CORE, SHELL

_NEIGHBOURS = 12
_WELL = 0.3  # of how much of a face's Gaussian is usually seen
_ON_PERSON = 0.9  # of its light
_HARDLY = 0.05  # what is hidden less looks as it was filmed
_LENDERS = 3
_STILL = ("means", "quats", "log_scales", "opacity_logits", "colours", "skin_logits")


class Core:
    """`hold` it after every step; `paint` it when it is known anew who is seen, and what hides behind the ears with it.

    Args:
        ears_u: how far forward in head space a face ends at its ears.
    """

    def __init__(self, group: Tensor, learned: Mapping[str, Tensor], ears_u: float) -> None:
        self.ears_u = ears_u
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
        """Mean colours of the nearest Gaussians of face and shell that are well seen, on the person and not beside;
        behind the ears, of the nearest ones further up.
        """
        on_person = (hidden.seen > _WELL * hidden.usual()) & (hidden.inside > _ON_PERSON * hidden.seen)
        well = ((group <= SHELL) & on_person).nonzero()[:, 0]
        if len(well) < _NEIGHBOURS or not len(self.rows):
            return
        means = learned["means"].detach().cpu().numpy()
        near = cKDTree(means[well.cpu()]).query(looked_up(means[self.rows.cpu()], self.ears_u), _NEIGHBOURS)[1]
        self._kept["colours"] = learned["colours"].detach()[well[torch.from_numpy(near).to(well.device)]].mean(1)
        self.hold(learned)

    @torch.no_grad()
    def lend(self, learned: Mapping[str, Tensor], group: Tensor, share: Tensor) -> None:
        """Gives its colours to those of the shell behind the ears that are hidden by a share [N] of 0..1."""
        if len(self.rows) < _LENDERS:
            return
        means = learned["means"].detach()
        rows = ((group == SHELL) & (share > _HARDLY)).nonzero()[:, 0]
        behind = torch.from_numpy(behind_ears(means[rows].cpu().numpy(), self.ears_u)).to(share)
        rows, behind = rows[behind > 0], behind[behind > 0]
        near = cKDTree(means[self.rows].cpu()).query(means[rows].cpu(), _LENDERS)[1]
        colours = learned["colours"].data
        wanted = colours[self.rows[torch.from_numpy(near).to(rows.device)]].mean(1)
        colours[rows] += (share[rows] * behind)[:, None] * (wanted - colours[rows])
