# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch

from avatar3d.face.groups import APERTURE_PAIRS
from avatar3d.face.lips import lip_opening
from avatar3d.face.rig import rig_vertices
from avatar3d.motion._lip_space import LipSpace


def test_the_opening_is_the_mean_distance_of_the_rigs_inner_lips() -> None:
    rng = np.random.default_rng(0)
    neutral, basis = rng.normal(size=(468, 3)), 0.2 * rng.normal(size=(468, 3, 5))
    expression = rng.normal(size=(7, 5))
    vertices = rig_vertices(neutral, basis, expression)
    expected = np.mean([np.linalg.norm(vertices[:, a] - vertices[:, b], axis=-1) for a, b in APERTURE_PAIRS], axis=0)
    np.testing.assert_allclose(lip_opening(neutral, basis, expression), expected)
    space = LipSpace(neutral.astype(np.float32), basis.astype(np.float32))
    opened = space.aperture(torch.from_numpy(expression.astype(np.float32)))
    np.testing.assert_allclose(opened.numpy(), expected, rtol=1e-5)
