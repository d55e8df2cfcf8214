# SPDX-License-Identifier: Apache-2.0
"""Gaussians as the binary PLY that 3D Gaussian splatting tools exchange (Kerbl et al. 2023, reference code's order).

Attributes of one splat: x y z, nx ny nz (zero), f_dc_0..2 and f_rest_* (spherical harmonics), opacity (logit),
scale_0..2 (log), rot_0..3 (wxyz). The format says nothing of axes; most programs take COLMAP's, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from avatar3d.errors import InputError
from avatar3d.records import Gaussians
from avatar3d.splat_files._plain import SH_0, arrays, check, gaussians_from, refuse_harmonics

__all__ = ["Ply"]

_HEADER_LIMIT = 65536
_GROUPS = {
    "means": ("x", "y", "z"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
    "log_scales": ("scale_0", "scale_1", "scale_2"),
    "colours": ("f_dc_0", "f_dc_1", "f_dc_2"),
}


@dataclass(frozen=True)
class Ply:
    """The PLY of the first 3D Gaussian splatting program; every number as it is."""

    y_down: bool = True  # the file's axes are x right, y down, z forward; False: the given ones

    suffixes: ClassVar[tuple[str, ...]] = (".ply",)

    def write(self, path: Path, gaussians: Gaussians, about: str = "") -> None:
        """See contracts.WriteSplats; axes and `about` stand in the header as comments."""
        given = arrays(gaussians)
        said = about.splitlines()
        if self.y_down:
            _turn_over(given)
            said.append("axes: x right, y down, z forward")
        names = [*_GROUPS["means"], "nx", "ny", "nz", *_GROUPS["colours"], "opacity"]
        names += [*_GROUPS["log_scales"], *_GROUPS["quats"]]
        columns = [
            given["means"],
            np.zeros_like(given["means"]),
            (given["colours"] - 0.5) / SH_0,
            given["opacity_logits"][:, None],
            given["log_scales"],
            given["quats"],
        ]
        table = np.concatenate(columns, 1).astype("<f4")
        lines = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in said)]
        lines += [f"element vertex {len(table)}", *(f"property float {name}" for name in names), "end_header", ""]
        path.write_bytes("\n".join(lines).encode("ascii", "replace") + table.tobytes())

    def read(self, path: Path) -> Gaussians:
        """See contracts.ReadSplats; any splat PLY whose vertices come first and are floats."""
        try:
            column = _columns(path.read_bytes())
            found = {key: np.stack([column[name] for name in members], 1) for key, members in _GROUPS.items()}
            found["opacity_logits"] = column["opacity"]
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", "name a splat PLY") from error
        except (ValueError, KeyError, OverflowError) as error:
            raise InputError(
                f"{path}: not a readable splat PLY ({error})", "the file is damaged; make it again"
            ) from error
        if any(values.any() for name, values in column.items() if name.startswith("f_rest_")):
            refuse_harmonics(path)
        check(path, found)
        found["colours"] = 0.5 + SH_0 * found["colours"]
        if self.y_down:
            _turn_over(found)
        return gaussians_from(found)


def _columns(data: bytes) -> dict[str, np.ndarray]:
    """The vertices' properties [N] by name; ValueError where this is no such file."""
    begins = data.find(b"end_header\n", 0, _HEADER_LIMIT) + len(b"end_header\n")
    if begins < len(b"end_header\n"):
        raise ValueError("no header of a PLY")
    lines = [line.split() for line in data[:begins].decode("ascii").splitlines()]
    told = [line for line in lines if line and line[0] != "comment"]
    if told[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        raise ValueError("not a little-endian PLY")
    if told[2][:2] != ["element", "vertex"] or not told[2][-1].isdecimal():
        raise ValueError("no vertices come first")
    names = []
    for line in told[3:]:
        if line[0] != "property":
            break
        if len(line) != 3 or line[1] not in ("float", "float32"):
            raise ValueError(f"{' '.join(line)}: not a float")
        names.append(line[2])
    count = int(told[2][-1])
    if len(data) - begins < 4 * count * len(names):
        raise ValueError("cut short")
    table = np.frombuffer(data, "<f4", count * len(names), begins).reshape(count, len(names))
    return {name: table[:, index] for index, name in enumerate(names)}


def _turn_over(found: dict[str, np.ndarray]) -> None:
    """Half a turn about x, in place of what is there: y up, z backward becomes y down, z forward, and back."""
    w, x, y, z = found["quats"].T
    found["means"] = found["means"] * np.array([1, -1, -1], np.float32)
    found["quats"] = np.stack([-x, w, -z, y], 1)
