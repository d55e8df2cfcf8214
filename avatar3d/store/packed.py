# SPDX-License-Identifier: Apache-2.0
"""Numbers on a grid of their own, in as few bytes as they need: what a compact avatar is made of.

A number x with the step s is kept as the whole number nearest to x / s, so it comes back within s / 2. Whole numbers
are written with their sign as the lowest bit, and their bytes in planes: the upper planes are nearly empty, and gzip,
which a browser unpacks by itself, then comes near the entropy.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.store.files import replacing

_LEAST_STEP, _MOST_STEP = 2.0**-60, 2.0**60
_LARGEST = 2**30  # whole number: beyond it float32 has gaps of its own


def on_grid(steps: Tensor) -> Tensor:
    """The largest steps that can be written (half powers of two) and are not above the given ones."""
    return _step(_exponents(steps))


def quantised(tensor: Tensor, steps: Tensor) -> Tensor:
    """A tensor as it comes back from a file: each number at the nearest multiple of its step."""
    return (_whole(tensor, steps) * on_grid(steps)).to(tensor.dtype)


def write_packed(path: Path, tensors: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> None:
    """Writes tensors as a gzipped safetensors file.

    Args:
        tensors: by name.
        steps: of those that are put on a grid, broadcastable to them; the others are written as they are.

    Raises:
        ValueError: a step is not positive, or a number is none or more than 2^30 steps away from 0.
    """
    arrays: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name not in steps:
            arrays[name] = tensor.detach().contiguous().numpy()
            continue
        whole, exponents = _whole(tensor, steps[name]), _exponents(steps[name])
        # numbers of one kind follow one another: gzip's tables are made for stretches of the file
        order = np.argsort(tensor.shape, kind="stable").tolist()
        planes = _planes(whole.permute(order).contiguous().numpy())
        arrays |= {f"{name}.{plane}": bytes_ for plane, bytes_ in enumerate(planes)}
        arrays[f"{name}.step"] = exponents.permute(order).contiguous().to(torch.int8).numpy()
        about[name] = {"planes": len(planes), "order": order}
    with replacing(path) as part:
        data = save(arrays, metadata={"about": json.dumps(about)})
        part.write_bytes(gzip.compress(data, 9, mtime=0))


def read_packed(path: Path) -> dict[str, Tensor]:
    """Reads what `write_packed` wrote.

    Raises:
        InputError: not such a file, or damaged.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"]["about"])
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items() if "." not in name}
        return tensors | {name: _unpacked(name, arrays, entry) for name, entry in about.items()}
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "the file is damaged; export it again") from error


def _unpacked(name: str, arrays: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> Tensor:
    planes = [arrays[f"{name}.{plane}"].astype(np.int64) << 8 * plane for plane in range(entry["planes"])]
    code = torch.from_numpy(sum(planes[1:], planes[0]))
    whole = (code >> 1) ^ -(code & 1)
    back = np.argsort(entry["order"]).tolist()
    step = _step(torch.from_numpy(arrays[f"{name}.step"].copy()))
    return (whole * step).permute(back).contiguous().float()


def _planes(whole: np.ndarray) -> list[np.ndarray]:
    code = (whole << 1) ^ (whole >> 63)
    count = max(1, -(-int(code.max(initial=0)).bit_length() // 8))
    return [(code >> 8 * plane & 0xFF).astype(np.uint8) for plane in range(count)]


def _whole(tensor: Tensor, steps: Tensor) -> Tensor:
    whole = (tensor.detach().double() / on_grid(steps)).round()
    if not whole.abs().le(_LARGEST).all():
        raise ValueError("a number is no number, or too many steps away from 0")
    return whole.long()


def _exponents(steps: Tensor) -> Tensor:
    if not (steps.ge(_LEAST_STEP) & steps.le(_MOST_STEP)).all():
        raise ValueError("steps must be positive numbers")
    exponents: Tensor = (2 * steps.detach().double().log2() + 1e-9).floor()
    return exponents


def _step(exponents: Tensor) -> Tensor:
    return torch.exp2(exponents.double() / 2)
