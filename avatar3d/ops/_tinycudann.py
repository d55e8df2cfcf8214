# SPDX-License-Identifier: Apache-2.0
"""tiny-cuda-nn as another body of `hashgrid`: its package tinycudann reads our tables of the layout "ngp" on CUDA.

The package is built from its repository (github.com/NVlabs/tiny-cuda-nn, bindings/torch) and is no part of ours. With
`half` it adds up the tables' gradient in half precision, of a loss that it scales itself, where our kernel adds in
float32; without, both are float32.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops._grids import HashGrid

_GET = "build it (github.com/NVlabs/tiny-cuda-nn, bindings/torch)"


def why_not(device: torch.device) -> str:
    """What keeps the package from encoding points of a device; empty: nothing."""
    if _native.body(device) != "cuda":
        return f"tinycudann runs on CUDA alone, not on {device.type}"
    try:
        importlib.import_module("tinycudann")
    except ImportError as error:
        return f"the package tinycudann cannot be imported ({error}); {_GET}"
    except OSError as error:  # what it raises where it finds no card that it was built for
        return f"the package tinycudann does not work here ({error})"
    return ""


def checked(grid: HashGrid, device: torch.device) -> None:
    """Raises ValueError where the grid has another layout, RuntimeError where the package cannot be used."""
    if grid.layout != "ngp":
        raise ValueError(
            f"hashgrid: tinycudann reads tables of the layout 'ngp', not {grid.layout!r}; or use path='auto'"
        )
    if reason := why_not(device):
        raise RuntimeError(f"hashgrid: {reason}; or use path='auto'")


def encoded(points: Tensor, tables: Tensor, grid: HashGrid, half: bool) -> Tensor:
    """As `hashgrid`, of at least one point.

    Raises:
        ValueError: a tensor has another type or device.
        RuntimeError: the package has another number of parameters than our layout.
    """
    shapes = {"points": points, "tables": tables}
    at, table = _native.prepared("hashgrid", **{name: (tensor, tuple(tensor.shape)) for name, tensor in shapes.items()})
    encoding = _encoding(grid, half, points.device)
    # whose parameters are handed over with every call, so that one encoding serves all planes
    found = [
        torch.func.functional_call(encoding, {"params": own.flatten()}, (at[:, list(plane)].clamp(0, 1),))
        for plane, own in zip(grid.axes, table.chunk(len(grid.axes)), strict=True)
    ]
    return torch.cat(found, 1).float()


def described(grid: HashGrid) -> dict[str, Any]:
    """A plane or volume of a grid in tiny-cuda-nn's words."""
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": len(grid.resolutions),
        "n_features_per_level": grid.features,
        "log2_hashmap_size": grid.log2_rows,
        "base_resolution": int(grid.resolutions[0]),
        "per_level_scale": grid.growth,
        "interpolation": "Linear",
    }


@lru_cache(maxsize=16)
def _encoding(grid: HashGrid, half: bool, device: torch.device) -> Any:
    """The package's encoding for one of the planes, without parameters of its own."""
    package: Any = importlib.import_module("tinycudann")
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        dtype = torch.float16 if half else torch.float32
        encoding = package.Encoding(len(grid.axes[0]), described(grid), dtype=dtype)
    wanted = grid.rows // len(grid.axes) * grid.features
    if (has := encoding.params.numel()) != wanted:
        raise RuntimeError(
            f"hashgrid: this tinycudann has {has} parameters where our layout 'ngp' has {wanted}; use path='auto'"
        )
    encoding.params = torch.nn.Parameter(torch.empty(0))  # they would take the table's memory a second time
    return encoding
