# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from avatar3d.avatar._driving import body_pose
from avatar3d.avatar._turned import turned


@pytest.mark.parametrize("size", [0.0, 1e-6, 9e-3, 1.1e-2, 0.3, 3.0])
def test_it_is_body_pose_with_its_gradient(size: float) -> None:
    g = torch.Generator().manual_seed(1)
    pose = torch.randn(7, generator=g, dtype=torch.float64)
    deviation = torch.randn(6, generator=g, dtype=torch.float64)
    deviation[:3] *= size / deviation[:3].norm()
    upstream = torch.randn(7, generator=g, dtype=torch.float64)
    found = []
    for move in (turned, lambda rest, deviation: body_pose(deviation, rest)):
        leaves = [tensor.clone().requires_grad_() for tensor in (pose, deviation)]
        out = move(*leaves)
        found.append((out, *torch.autograd.grad(out, leaves, upstream)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_several_are_turned_as_one_each() -> None:
    poses, deviations = torch.randn(4, 7), torch.randn(4, 6)
    each = [turned(pose, deviation) for pose, deviation in zip(poses, deviations, strict=True)]
    assert torch.allclose(turned(poses, deviations), torch.stack(each), atol=1e-6)
    shared = [turned(poses[0], deviation) for deviation in deviations]
    assert torch.allclose(turned(poses[0], deviations), torch.stack(shared), atol=1e-6)
