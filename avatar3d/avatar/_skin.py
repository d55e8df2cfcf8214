# SPDX-License-Identifier: Apache-2.0
"""Keeps the face's Gaussians at the tracked surface.

Left alone they spread to a veil some millimetres deep. In the order of depth that frames saw it looks right, but from
another side what lay behind comes to lie before: eyes turn to skin. It grows with training, and no frame tells.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatar3d.avatar._scatter import HEAD

_NEIGHBOURS = 12  # starting points whose plane is the surface there


class Skin:
    """The surface on which the face's Gaussians started.

    Args:
        means: [N,3] u, where all Gaussians started.
        group: [N] of them, see `_scatter`.
    """

    def __init__(self, means: Tensor, group: Tensor) -> None:
        points = means[group == HEAD].detach().cpu().double().numpy()
        self._points = points
        self._tree = cKDTree(points) if len(points) >= _NEIGHBOURS else None
        self._normals = _normals(points, self._tree) if self._tree is not None else points

    @torch.no_grad()
    def hold(self, means: Tensor, group: Tensor, reach_u: float) -> None:
        """Brings those of the face [N,3] that lie further than `reach_u` in front of or behind the surface back."""
        rows = (group == HEAD).nonzero()[:, 0]
        if self._tree is None or not len(rows):
            return
        at = means[rows].cpu().double().numpy()
        nearest = self._tree.query(at)[1]
        normals = self._normals[nearest]
        off = ((at - self._points[nearest]) * normals).sum(1)
        excess = off - off.clip(-reach_u, reach_u)
        far = np.flatnonzero(excess)
        back = at[far] - excess[far, None] * normals[far]
        means[rows[torch.from_numpy(far).to(rows.device)]] = torch.from_numpy(back).to(means)


def _normals(points: np.ndarray, tree: cKDTree) -> np.ndarray:
    """[N,3] of the planes through each point's neighbours; which way they look does not matter."""
    near = points[tree.query(points, _NEIGHBOURS)[1]]
    near = near - near.mean(1, keepdims=True)
    normals: np.ndarray = np.linalg.eigh(near.transpose(0, 2, 1) @ near)[1][:, :, 0]
    return normals
