# SPDX-License-Identifier: Apache-2.0
"""A module that answers as the package tinycudann does, as far as `Encoding` of hash grids goes, on any device.

Names, arguments and defaults are those of bindings/torch/tinycudann/modules.py of tiny-cuda-nn. What it computes is
written anew, point by point, from that project's description, so that nothing of ours is compared with itself.
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

BATCH_SIZE_GRANULARITY = 256
calls: list[tuple[int, dict[str, Any], torch.dtype | None]] = []  # of Encoding
batches: list[int] = []  # points that its kernels were given


class Module(torch.nn.Module):
    """What all of its modules share: parameters in float32, which the kernels take in `dtype`."""

    def __init__(self, seed: int = 1337) -> None:
        super().__init__()
        self.seed = seed
        g = torch.Generator().manual_seed(seed)
        self.params = torch.nn.Parameter((torch.rand(self._count(), generator=g) * 2 - 1) * 1e-4)
        self.loss_scale = 128.0 if self.dtype == torch.float16 else 1.0

    def forward(self, x: Tensor) -> Tensor:
        batch_size = x.shape[0]
        padded = -(-batch_size // BATCH_SIZE_GRANULARITY) * BATCH_SIZE_GRANULARITY
        x_padded = x if batch_size == padded else torch.nn.functional.pad(x, [0, 0, 0, padded - batch_size])
        out = self._kernel(x_padded.to(torch.float).contiguous(), self.params.to(self.dtype).contiguous())
        return out[:batch_size, : self.n_output_dims]


class Encoding(Module):
    """A hash grid with linear interpolation."""

    def __init__(
        self, n_input_dims: int, encoding_config: dict[str, Any], seed: int = 1337, dtype: torch.dtype | None = None
    ) -> None:
        calls.append((n_input_dims, encoding_config, dtype))
        self.n_input_dims, self.encoding_config = n_input_dims, encoding_config
        self.dtype = torch.float16 if dtype is None else dtype
        config = {"n_levels": 16, "n_features_per_level": 2, "log2_hashmap_size": 19} | encoding_config
        assert (config["otype"], config["type"], config["interpolation"]) == ("Grid", "Hash", "Linear")
        self._features, most = config["n_features_per_level"], 1 << config["log2_hashmap_size"]
        octaves = np.log2(np.float32(config["per_level_scale"]))
        self._levels, first = [], 0
        for level in range(config["n_levels"]):
            scale = np.exp2(np.float32(level) * octaves) * np.float32(config["base_resolution"]) - np.float32(1)
            across = ceil(scale) + 1
            rows = min((across**n_input_dims + 7) // 8 * 8, most)
            self._levels.append((float(scale), across, rows, first))
            first += rows
        self._rows = first
        super().__init__(seed=seed)
        self.n_output_dims = config["n_levels"] * self._features

    def _count(self) -> int:
        return self._rows * self._features

    def _kernel(self, x: Tensor, params: Tensor) -> Tensor:
        assert x.dtype == torch.float32 and params.dtype == self.dtype and params.shape == (self._count(),)
        batches.append(len(x))
        table = params.view(self._rows, self._features)
        columns = [self._level(x, table, *level) for level in self._levels]
        return torch.cat(columns, 1).to(self.dtype)

    def _level(self, x: Tensor, table: Tensor, scale: float, across: int, rows: int, first: int) -> Tensor:
        at = x * scale + 0.5
        corner_of_cell = at.detach().floor()
        fraction = at - corner_of_cell
        total = torch.zeros(len(x), self._features)
        for ends in product((0, 1), repeat=self.n_input_dims):
            corners = (corner_of_cell + torch.tensor(ends)).long().tolist()
            index = torch.tensor([first + self._index(corner, across) % rows for corner in corners])
            weight = torch.ones(len(x))
            for k, end in enumerate(ends):
                weight = weight * (fraction[:, k] if end else 1 - fraction[:, k])
            total = total + weight[:, None] * table[index].float()
        return total

    def _index(self, corner: list[int], across: int) -> int:
        if across**self.n_input_dims <= 1 << self.encoding_config["log2_hashmap_size"]:
            return sum(at * across**k for k, at in enumerate(corner))
        hashed = 0
        for at, prime in zip(corner, (1, 2654435761, 805459861), strict=False):
            hashed ^= at * prime % 2**32
        return hashed
