# SPDX-License-Identifier: Apache-2.0
"""Training on another device than the CPU: no step mixes devices, and none waits for the device.

Where there is no GPU, torch's device "meta" stands in: it has shapes but no numbers, so that an operation with a tensor
of the CPU is refused, and so is every attempt to look at a number.
"""

from __future__ import annotations

import pytest
import torch
from made_up import SETTINGS, MadeUp
from torch import Tensor

from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._frames import Frames
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar._pose_rows import PoseRows
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.fit import Budget, Stage, fit
from avatar3d.perceptual import gradient_loss
from avatar3d.records import Camera, Gaussians, Image
from avatar3d.render.native import Native

STAGE = Stage("all", 1.0, {"picture": 1.0, "alpha": 0.1, "solid": 0.1, "perceptual": 0.1, "sharpness": 0.1})
# relocation and the looks at what is hidden and at the skin come rarely, and have to ask who is meant
SMALL = FitSettings(patch_share=0.25, patch_every=1, refine_from=0.0, relocate_until=0.0, hidden_every=0, skin_every=0)


class Smears:
    """Draws a picture in which every number of every Gaussian has a part, whatever the device."""

    batches = True

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        parts = (gaussians.means, gaussians.quats, gaussians.colours)
        mean = torch.stack([part.mean((-1, -2)) for part in parts]).sum(0)
        mean = mean + gaussians.log_scales.mean() + gaussians.opacity_logits.mean() + camera.K.mean()
        plane = mean[..., None, None].expand(*mean.shape, camera.height, camera.width)
        return Image(plane[..., None].expand(*plane.shape, 3), plane, plane)


def _elsewhere(made_up: MadeUp) -> LinearFit:
    """A task all of whose tensors lie on "meta": made on the CPU, since to make one is to read the capture."""
    head = LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)
    task = LinearFit(head, made_up.capture, made_up.track, Tools(Smears(), gradient_loss), SMALL)
    task.device = torch.device("meta")
    task.learned |= {name: tensor.detach().to("meta").requires_grad_() for name, tensor in task.learned.items()}
    head.parts = {name: tensor.to("meta") for name, tensor in head.parts.items()} | task.learned
    head.parts["tables"] = head.parts["tables"].detach()
    for name in ("codes", "poses", "features", "demand", "unseen", "units"):
        setattr(task, name, getattr(task, name).to("meta"))
    task.moments = {name: tensor.to("meta") for name, tensor in task.moments.items()}
    task.corrections = PoseRows(len(task.codes), made_up.capture.cuts, "meta")
    task.frames = Frames(made_up.capture, made_up.track, "meta")
    return task


@pytest.mark.parametrize("pictures", [1, 3])
def test_a_step_mixes_no_devices_and_asks_the_device_for_no_number(made_up: MadeUp, pictures: int) -> None:
    task = _elsewhere(made_up)
    groups = task.param_groups()
    optimiser = torch.optim.Adam(groups)
    for step in range(2):
        terms = task.losses(STAGE, 0.5, step, [10 * step + number for number in range(pictures)])
        total = sum((STAGE.weights[name] * term for name, term in terms.items()), start=terms["picture"])
        total.backward()
        assert all(tensor.grad is not None for name, tensor in task.learned.items() if name != "tables")
        optimiser.step()
        task.after_step(STAGE, 0.5, step, optimiser)


def test_the_stand_in_refuses_what_a_gpu_would_refuse_or_wait_for() -> None:
    there = torch.zeros(3, device="meta")
    with pytest.raises(RuntimeError, match="device"):
        there + torch.zeros(3)
    with pytest.raises(NotImplementedError, match="no data"):
        there.tolist()


def _losses(made_up: MadeUp, device: str) -> Tensor:
    head = LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS).to(device)
    tools = Tools(Native(), gradient_loss, device=device)
    task = LinearFit(head, made_up.capture, made_up.track, tools, SMALL)
    reports = list(fit(task, [STAGE], Budget(steps=3), batch=2, reviews=0))
    assert all(tensor.device.type == device for tensor in task.learned.values())
    return torch.tensor([report.loss for report in reports])


@pytest.fixture
def on_the_cpu(made_up: MadeUp) -> Tensor:
    """Losses through the CPU's kernels; asked for before those of CUDA take their place."""
    return _losses(made_up, "cpu")


def test_a_batch_through_the_kernels_for_cuda_learns_as_on_the_cpu(
    on_the_cpu: Tensor, cuda: torch.device, made_up: MadeUp
) -> None:
    assert torch.allclose(_losses(made_up, cuda.type), on_the_cpu, rtol=0.02)


def _rows(device: torch.device | str) -> tuple[PoseRows, Tensor]:
    rows = PoseRows(12, [6], device)
    g = torch.Generator().manual_seed(2)
    for frames in ([3], [4, 9], [4, 4, 5], [0], [11, 6]):
        rows.begin(frames)
        rows.rows.grad = torch.randn(len(frames), 12, generator=g).to(device)
        rows.update(0.5)
    return rows, rows.values


def test_corrections_of_a_batch_count_a_frame_that_comes_twice_once() -> None:
    rows, values = _rows("cpu")
    assert rows.visits[:, 0].tolist() == [1, 0, 0, 1, 2, 1, 1, 0, 0, 1, 0, 1]
    assert values[[1, 2, 7, 8, 10]].abs().sum() == 0
    assert values[[0, 3, 4, 5, 6, 9, 11]].abs().sum(1).min() > 0


@pytest.mark.gpu
def test_corrections_are_the_same_on_the_gpu() -> None:
    assert torch.allclose(_rows("cpu")[1], _rows("cuda")[1].cpu(), atol=1e-6)
