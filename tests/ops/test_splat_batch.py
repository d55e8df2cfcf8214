# SPDX-License-Identifier: Apache-2.0
"""A batch is its images, whatever they share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scenes import NAMES, Scene, cloud, relative
from torch import Tensor

from avatar3d.ops.splat import splat, splat_weights

SIZE = {"width": 40, "height": 24}
OWN = [NAMES, ("means", "quats", "colours"), ("cam_from_world",), ("K",), ("opacities", "scales"), ("colours",)]
CPU = torch.device("cpu")


def batch(images: int, own: tuple[str, ...], terms: int = 0) -> tuple[list[Scene], dict[str, Tensor]]:
    """Single scenes that differ in `own` only, and the same as one batch."""
    first = cloud(120, **SIZE, terms=terms)
    singles = [first]
    for image in range(1, images):
        other = cloud(120, **SIZE, seed=image, terms=terms)
        pose = first.cam_from_world.clone()
        pose[0, 3] += 0.2 * image
        other = replace(other, cam_from_world=pose, K=first.K * (1 + 0.1 * image))
        changes = {name: getattr(other, name) for name in own}
        singles.append(replace(first, **changes))
    stacked = {
        name: torch.stack([getattr(one, name) for one in singles]) if name in own else getattr(first, name)
        for name in (*NAMES, "K")
    }
    return singles, stacked


def same_as_alone(device: torch.device, path: str, own: tuple[str, ...], terms: int = 0) -> None:
    """Pictures of a batch are those of its images, and so are gradients, summed where a tensor is shared."""
    singles, stacked = batch(3, own, terms)
    inputs = {name: tensor.to(device).requires_grad_(name != "K") for name, tensor in stacked.items()}
    pictures = splat(**inputs, **SIZE, path=path)
    total = sum((image + 1) * picture[image].sum() for picture in pictures for image in range(3))
    gradients = dict(zip(NAMES, torch.autograd.grad(total, [inputs[name] for name in NAMES]), strict=True))
    summed = {name: torch.zeros_like(tensor) for name, tensor in stacked.items()}
    for image, single in enumerate(singles):
        tensors = [tensor.to(device).requires_grad_() for tensor in single.tensors()]
        drawn = splat(*tensors, single.K.to(device), **SIZE, path=path)
        assert all(torch.equal(a[image], b) for a, b in zip(pictures, drawn, strict=True))
        found = torch.autograd.grad(sum((image + 1) * picture.sum() for picture in drawn), tensors)
        for name, gradient in zip(NAMES, found, strict=True):
            (summed[name][image] if name in own else summed[name]).add_(gradient.cpu())
    for name, gradient in gradients.items():
        assert relative(gradient.cpu(), summed[name]) < 1e-5, name


@pytest.mark.parametrize("path", ["native", "reference"])
@pytest.mark.parametrize("own", OWN)
def test_a_batch_is_its_images(kernels: None, path: str, own: tuple[str, ...]) -> None:
    same_as_alone(CPU, path, own)


@pytest.mark.parametrize("own", OWN)
def test_a_batch_is_its_images_on_cuda(cuda: torch.device, own: tuple[str, ...]) -> None:
    same_as_alone(cuda, "native", own)


@pytest.mark.parametrize("own", [("means", "colours"), ("cam_from_world",)])
def test_harmonics_of_a_batch(cuda: torch.device, own: tuple[str, ...]) -> None:
    same_as_alone(cuda, "native", own, terms=4)


def test_harmonics_of_a_batch_on_the_cpu(kernels: None) -> None:
    same_as_alone(CPU, "native", ("cam_from_world",), terms=4)
    same_as_alone(CPU, "reference", ("colours",), terms=4)


def test_batches_of_two_sizes_are_refused() -> None:
    _, stacked = batch(3, ("means",))
    poses = stacked["cam_from_world"].expand(2, 4, 4)
    with pytest.raises(ValueError, match=r"batches of \[2, 3\] images"):
        splat(**{**stacked, "cam_from_world": poses}, **SIZE)
    with pytest.raises(ValueError, match=r"batches of \[0\] images"):
        splat(**{**stacked, "means": stacked["means"][:0]}, **SIZE)


def test_weights_take_one_picture() -> None:
    _, stacked = batch(2, ("means",))
    shape = [stacked[name] for name in ("means", "quats", "scales", "opacities", "cam_from_world", "K")]
    with pytest.raises(ValueError, match="one picture"):
        splat_weights(*shape, torch.zeros(3, 24, 40))
