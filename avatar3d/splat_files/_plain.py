# SPDX-License-Identifier: Apache-2.0
"""What all formats share: colours that do not change with the view, and the check of what was read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from avatar3d.errors import InputError
from avatar3d.records import Gaussians

# the constant spherical harmonic: colour = 0.5 + SH_0 * coefficient
SH_0 = 0.5 / math.sqrt(math.pi)


def arrays(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """float32: means [N,3], quats [N,4] wxyz, log_scales [N,3], opacity_logits [N], colours [N,3].

    Raises:
        InputError: the colours are spherical harmonics.
    """
    if gaussians.colours.ndim != 2:
        raise InputError("this head's colours change with the view", "write one whose colours do not")
    names = ("means", "quats", "log_scales", "opacity_logits", "colours")
    return {name: getattr(gaussians, name).detach().cpu().float().numpy() for name in names}


def unit(quats: np.ndarray) -> np.ndarray:
    """Quaternions [N,4] at length 1; those of no length become the identity."""
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    return np.where(length > 0, quats / length.clip(1e-12), np.array([1, 0, 0, 0], np.float32)).astype(np.float32)


def check(path: Path, found: dict[str, np.ndarray]) -> None:
    """Refuses what was read where nothing can be made of it.

    Raises:
        InputError: no splats at all, a number that is not finite, or a turn of no length.
    """
    if not len(found["means"]):
        raise InputError(f"{path}: no splats in this file", "write it again, with the splats shown")
    wrong = next((name for name, values in found.items() if not np.isfinite(values).all()), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong} that are not finite", "remove those splats, or write it again")
    if not np.square(found["quats"], dtype=np.float64).sum(1).all():
        raise InputError(f"{path}: quats of no length", "remove those splats, or write it again")


def gaussians_from(found: dict[str, np.ndarray]) -> Gaussians:
    """Gaussians of group 0 from arrays as `arrays` gives them."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values, np.float32)) for name, values in found.items()}
    return Gaussians(**tensors, group=torch.zeros(len(found["means"]), dtype=torch.uint8))


def refuse_harmonics(path: Path) -> None:
    """For a file whose colours are spherical harmonics above degree 0.

    Raises:
        InputError: always.
    """
    raise InputError(
        f"{path}: colours that change with the view (spherical harmonics above degree 0)",
        "write it with degree 0; an avatar's colours do not",
    )
