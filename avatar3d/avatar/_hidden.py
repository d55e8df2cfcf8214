# SPDX-License-Identifier: Apache-2.0
"""How much of each Gaussian the training frames show, and colours for those that they hardly show.

What no frame shows well (beside and behind the ears, under the jaw, the far side of the nose) gets next to no gradient,
but Adam makes steps of full length of it: such Gaussians take up any colour, which is seen as specks from another side.
Here they look like their neighbours, the more so the less they are seen: a prior that what is seen well never feels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatar3d.avatar._scatter import CORE, HEAD, MOUTH
from avatar3d.density import Relocation, Renewal
from avatar3d.records import BLUR_PX2, Camera, Gaussians

_NEIGHBOURS = 8
_BLEND = 0.1  # of a new look into the mean over frames
_USUAL = 0.15  # of how much of a face's Gaussian is usually seen; what is seen as little is half hidden
_LEAST_SEEN = 1e-4
_LEAST_AREA_PX = 1e-3


class Hidden:
    """`look` at frames as they are drawn; `share` says who is hidden, `soothe` colours them.

    Args:
        group: [N], the same tensor for as long as it is trained; each Gaussian's neighbours are of its own group.
    """

    def __init__(self, group: Tensor) -> None:
        self.group = group
        self.seen = torch.zeros(len(group), device=group.device)  # light received over light sent, mean over frames
        self.inside = torch.zeros(len(group), device=group.device)  # the same of what fell on the person
        self.near = torch.zeros(len(group), _NEIGHBOURS, dtype=torch.int64, device=group.device)
        self.looks = torch.zeros((), dtype=torch.int64)
        self.stale = torch.ones((), dtype=torch.bool)

    @torch.no_grad()
    def look(self, gaussians: Gaussians, camera: Camera, weights: Tensor, inside: Tensor) -> None:
        """Notes a frame.

        Args:
            gaussians: as they were drawn.
            weights: [N] sum over pixels of what each Gaussian gave to the picture.
            inside: [N] the same over the pixels that surely show the person.
        """
        # all the light of a Gaussian that faces the camera with nothing before it
        minor, major = gaussians.log_scales.exp().sort(1).values[:, 1:].unbind(1)
        view = camera.cam_from_world
        depth = (gaussians.means @ view[2, :3] + view[2, 3]).clamp_min(_LEAST_SEEN)
        area = 2 * torch.pi * (minor * major * (camera.K[0, 0] / depth).square() + BLUR_PX2)
        light = (area * gaussians.opacity_logits.sigmoid()).clamp_min(_LEAST_AREA_PX)
        self.looks += 1
        blend = max(_BLEND, 1 / int(self.looks))
        self.seen.lerp_(weights / light, blend)
        self.inside.lerp_(inside / light, blend)
        if self.stale:
            self.near.copy_(_nearest(gaussians.means, self.group))
            self.stale.fill_(False)

    def usual(self) -> float:
        """How much is seen of a Gaussian of the face, the median."""
        return max(float(self.seen[self.group == HEAD].median()), _LEAST_SEEN)

    @torch.no_grad()
    def share(self) -> Tensor:
        """[N] 0 for what is seen well .. 1 for what never is; 0 for the mouth's interior, which is hidden by nature."""
        hidden = 1 / (1 + (self.seen / (_USUAL * self.usual())).square())
        return hidden * ((self.group != MOUTH) & (self.group != CORE))

    @torch.no_grad()
    def soothe(self, values: Tensor, share: Tensor) -> None:
        """Moves values [N,C], in place, towards the mean of their neighbours, those best seen counting most."""
        trust = self.seen[self.near].clamp_min(_LEAST_SEEN)
        mean = (values[self.near] * trust[..., None]).sum(1) / trust.sum(1, keepdim=True)
        values += share[:, None] * (mean - values)

    def relocated(self, plan: Relocation) -> None:
        """Twins are seen as their source was; who is whose neighbour is looked up anew."""
        for tensor in (self.seen, self.inside):
            tensor[plan.dead] = tensor[plan.source]
        self.stale.fill_(True)

    def renewed(self, plan: Renewal, means: Tensor) -> None:
        """As `relocated`, where the number of Gaussians changes: these are the `means` [M,3] of those that are now.

        Neighbours are looked up at once: their old numbers are those of others.
        """
        self.seen, self.inside = self.seen[plan.source], self.inside[plan.source]
        self.near = _nearest(means, self.group)
        self.stale.fill_(False)

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen, "inside": self.inside, "near": self.near, "looks": self.looks, "stale": self.stale}


def _nearest(means: Tensor, group: Tensor) -> Tensor:
    """[N,8] the nearest others of the same group; where there are too few, some stand more than once."""
    points, groups = means.cpu().numpy(), group.cpu().numpy()
    found = np.zeros((len(points), _NEIGHBOURS), np.int64)
    for one in np.unique(groups):
        rows = np.flatnonzero(groups == one)
        count = min(_NEIGHBOURS + 1, len(rows))
        near = cKDTree(points[rows]).query(points[rows], count)[1].reshape(len(rows), count)[:, min(1, count - 1) :]
        found[rows] = rows[near[:, np.arange(_NEIGHBOURS) % near.shape[1]]]
    return torch.from_numpy(found).to(means.device)
