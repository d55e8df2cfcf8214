# SPDX-License-Identifier: Apache-2.0
"""Gaussians as the binary PLY that 3D Gaussian splatting tools exchange (Kerbl et al. 2023, reference code's order).

Attributes of one splat: x y z, nx ny nz (zero), f_dc_0..2 and f_rest_* (spherical harmonics), opacity (logit),
scale_0..2 (log), rot_0..3 (wxyz).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar3d.errors import InputError

# the constant spherical harmonic: colour = 0.5 + SH_0 * f_dc
SH_0 = 0.5 / math.sqrt(math.pi)
_HEADER_LIMIT = 65536


def write_splats(path: Path, gaussians: Mapping[str, Tensor]) -> None:
    """Writes means [N,3], quats [N,4], log_scales [N,3], opacity_logits [N], colours [N,3] (plain, no harmonics)."""
    means = gaussians["means"]
    names = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    names += [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    columns = [
        means,
        torch.zeros_like(means),
        (gaussians["colours"] - 0.5) / SH_0,
        gaussians["opacity_logits"][:, None],
        gaussians["log_scales"],
        gaussians["quats"],
    ]
    table = torch.cat([column.detach().float() for column in columns], 1).numpy().astype("<f4")
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    path.write_bytes(header.encode("ascii") + table.tobytes())


def read_splats(path: Path) -> dict[str, Tensor]:
    """Reads what `write_splats` writes, and any float-only splat PLY (harmonics above degree 0 are left out).

    Raises:
        InputError: not such a file, or cut short.
    """
    try:
        data = path.read_bytes()
        end = data.index(b"end_header\n", 0, _HEADER_LIMIT) + len(b"end_header\n")
        lines = data[:end].decode("ascii").splitlines()
        count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
        properties = [line.split() for line in lines if line.startswith("property")]
        if lines[1] != "format binary_little_endian 1.0" or any(kind != "float" for _, kind, _ in properties):
            raise ValueError("not a little-endian PLY of floats")
        names = [name for _, _, name in properties]
        table = np.frombuffer(data, "<f4", count * len(names), end).reshape(count, len(names))
        column = {name: torch.from_numpy(table[:, i].copy()) for i, name in enumerate(names)}
        group = {
            "means": [*"xyz"],
            "quats": [f"rot_{i}" for i in range(4)],
            "log_scales": [f"scale_{i}" for i in range(3)],
            "colours": [f"f_dc_{i}" for i in range(3)],
        }
        splats = {key: torch.stack([column[name] for name in members], 1) for key, members in group.items()}
        return splats | {"opacity_logits": column["opacity"], "colours": 0.5 + SH_0 * splats["colours"]}
    except (OSError, ValueError, KeyError, StopIteration, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable splat PLY ({error})", "the file is damaged; make it again") from error
