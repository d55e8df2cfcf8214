# SPDX-License-Identifier: Apache-2.0
"""How alike two pictures look: LPIPS where its weights are at hand, multi-scale gradients where they are not; and
whether they are equally sharp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from avatar3d._unpack import LPIPS_LAYERS, read_arrays
from avatar3d.errors import InputError

# AlexNet's five convolutions, (outputs, inputs, side); the second and third begin with a 3x3 maximum of stride 2
_KERNELS = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
_STRIDES = (4, 1, 1, 1, 1)
_PADDINGS = (2, 2, 1, 1, 1)
_POOLED = (1, 2)
SMALLEST_PX = 31  # below this nothing is left after the second pooling
_LUMA = (0.299, 0.587, 0.114)
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_WINDOW_PX, _STRIDE_PX = 8, 4
_LEAST_DETAIL = 1e-6  # squared; keeps the root's slope finite where a picture is flat
# mean and spread of ImageNet's colours in -1..1, as LPIPS v0.1 applies them
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Lpips:
    """LPIPS v0.1 with the AlexNet trunk (Zhang et al., The Unreasonable Effectiveness of Deep Features, 2018)."""

    kernels: tuple[Tensor, ...]  # [O,I,h,w] per layer
    biases: tuple[Tensor, ...]  # [O]
    heads: tuple[Tensor, ...]  # [O] weight of each channel's squared difference

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads weights w{i}, b{i}, h{i} from a .safetensors or .npz file.

        Raises:
            InputError: the file holds something else.
        """
        arrays = read_arrays(path)
        layers = range(LPIPS_LAYERS)
        wanted: dict[str, tuple[int, ...]] = {f"w{i}": (o, k, side, side) for i, (o, k, side) in enumerate(_KERNELS)}
        wanted |= {f"{part}{i}": (_KERNELS[i][0],) for i in layers for part in "bh"}
        wrong = [name for name, shape in wanted.items() if name not in arrays or arrays[name].shape != shape]
        if wrong:
            raise InputError(f"{path}: not the weights of LPIPS with AlexNet ({wrong[0]} is missing or misshapen)",
                             "fetch them with `avatar3d assets`")  # fmt: skip
        tensors = {name: torch.from_numpy(arrays[name]).float() for name in wanted}
        kernels, biases, heads = (tuple(tensors[f"{part}{i}"] for i in layers) for part in "wbh")
        return cls(kernels, biases, heads)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same weights elsewhere, or in another precision."""
        moved = (tuple(t.to(device, dtype) for t in part) for part in (self.kernels, self.biases, self.heads))
        return type(self)(*moved)

    def features(self, picture: Tensor) -> list[Tensor]:
        """Activations of the five layers, each position at unit length.

        Args:
            picture: [3,h,w] or [B,3,h,w] 0..1, at least SMALLEST_PX in each direction.

        Returns:
            Five tensors [B,C,h',w'] (B = 1 for a single picture).
        """
        if min(picture.shape[-2:]) < SMALLEST_PX:
            raise ValueError(f"picture: at least {SMALLEST_PX} px a side expected, got {tuple(picture.shape)}")
        x = picture if picture.ndim == 4 else picture[None]
        x = (x * 2 - 1 - x.new_tensor(_SHIFT).view(1, 3, 1, 1)) / x.new_tensor(_SCALE).view(1, 3, 1, 1)
        found = []
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if layer in _POOLED:
                x = functional.max_pool2d(x, 3, 2)
            x = functional.conv2d(x, kernel, bias, stride=_STRIDES[layer], padding=_PADDINGS[layer]).relu()
            # the floor changes no value and keeps the root's slope finite where nothing responds
            length = x.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt()
            found.append(x / (length + 1e-10))
        return found

    def distance(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """LPIPS [B] from the features of two pictures, or of two batches of pictures."""
        layers = zip(features_a, features_b, self.heads, strict=True)
        parts = [torch.einsum("bchw,c->bhw", (a - b).square(), head).mean((1, 2)) for a, b, head in layers]
        return torch.stack(parts).sum(0)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS of two pictures [3,h,w] or batches [B,3,h,w], 0..1: a scalar, the mean over a batch.

        Differentiable in `a`; `b` is the target and receives no gradient.
        """
        with torch.no_grad():
            target = self.features(b)
        return self.distance(self.features(a), target).mean()


def gradient_loss(a: Tensor, b: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the horizontal and vertical slopes of two pictures, averaged over scales.

    Each scale halves the last by 2x2 means, until a side would fall below 2 px. Blind to a constant offset in colour,
    so it belongs beside a loss on the colours themselves.

    Args:
        a, b: [3,h,w] or [B,3,h,w] 0..1, at least 2 px a side. Differentiable in both.
    """
    difference = a - b
    found: list[Tensor] = []
    for _ in range(scales):
        across, down = difference.diff(dim=-1).abs().mean(), difference.diff(dim=-2).abs().mean()
        found.append((across + down) / 2)
        if min(difference.shape[-2:]) < 4:
            break
        difference = functional.avg_pool2d(difference, 2)
    return torch.stack(found).mean()


def sharpness_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference in how much fine detail two pictures have, window by window.

    Detail is the root mean square of the luma's Laplacian in windows of 8 px. Where it moves in ways that a head cannot
    follow, every other loss is least for a blur; this one asks for as much of it as was filmed, wherever it lies.

    Args:
        a, b: [3,h,w] 0..1, at least 10 px a side. Differentiable in `a`; `b` is the target.
    """
    with torch.no_grad():
        wanted = _detail(b)
    return (_detail(a) - wanted).abs().mean()


def _detail(picture: Tensor) -> Tensor:
    luma = torch.einsum("chw,c->hw", picture, picture.new_tensor(_LUMA))[None, None]
    curved = functional.conv2d(luma, picture.new_tensor(_LAPLACIAN)[None, None])
    return (functional.avg_pool2d(curved.square(), _WINDOW_PX, _STRIDE_PX) + _LEAST_DETAIL).sqrt()
