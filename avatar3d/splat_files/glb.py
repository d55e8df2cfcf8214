# SPDX-License-Identifier: Apache-2.0
"""glTF 2.0's binary file with KHR_gaussian_splatting; programs without that extension show coloured points.

Axes are those of head space (y up, the face looks along +z); lengths are metres. Scales and opacities are linear,
quaternions xyzw; the only order that the extension knows is by the distance from the camera. Source: the Khronos
registry, KHR_gaussian_splatting (release candidate of July 2026).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avatar3d.records import Gaussians
from avatar3d.splat_files._plain import SH_0, arrays, unit

__all__ = ["Glb"]

_EXTENSION = "KHR_gaussian_splatting"
_METRES = 0.1  # per u
_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _VERTICES, _POINTS = 5126, 34962, 0
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


class Glb:
    """One mesh of points in float32."""

    suffixes: ClassVar[tuple[str, ...]] = (".glb",)

    def write(self, path: Path, gaussians: Gaussians, about: str = "") -> None:
        """See contracts.WriteSplats; `about` stands in the asset's extras."""
        attributes = _attributes(arrays(gaussians))
        views, accessors, at = [], [], 0
        for values in attributes.values():
            views.append({"buffer": 0, "byteOffset": at, "byteLength": values.nbytes, "target": _VERTICES})
            accessors.append(
                {
                    "bufferView": len(views) - 1,
                    "componentType": _FLOAT,
                    "count": len(values),
                    "type": _KINDS[values.shape[1]],
                }
            )
            at += values.nbytes
        means = attributes["POSITION"]  # the only attribute of which glTF wants them
        accessors[0] |= {"min": means.min(0).tolist(), "max": means.max(0).tolist()}
        splats = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
        said: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "avatar3d", "extras": {"about": about}},
            "extensionsUsed": [_EXTENSION],
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [
                {
                    "primitives": [
                        {
                            "attributes": {name: index for index, name in enumerate(attributes)},
                            "mode": _POINTS,
                            "extensions": {_EXTENSION: splats},
                        }
                    ]
                }
            ],
            "buffers": [{"byteLength": at}],
            "bufferViews": views,
            "accessors": accessors,
        }
        text = json.dumps(said, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + at
        with path.open("wb") as file:
            file.write(struct.pack("<5I", _MAGIC, 2, length, len(text), _JSON) + text)
            file.write(struct.pack("<2I", at, _BINARY) + b"".join(values.tobytes() for values in attributes.values()))


def _attributes(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[N,1], [N,3] or [N,4] float32 by the name of the attribute, positions first."""
    opacities = 1 / (1 + np.exp(-given["opacity_logits"].astype(np.float64)))[:, None]
    found = {
        "POSITION": _METRES * given["means"],
        "COLOR_0": np.concatenate([_linear(given["colours"].clip(0, 1)), opacities], 1),
        f"{_EXTENSION}:ROTATION": np.roll(unit(given["quats"]), -1, 1),
        f"{_EXTENSION}:SCALE": _METRES * np.exp(given["log_scales"]),
        f"{_EXTENSION}:OPACITY": opacities,
        f"{_EXTENSION}:SH_DEGREE_0_COEF_0": (given["colours"] - 0.5) / SH_0,
    }
    return {name: np.ascontiguousarray(values, "<f4") for name, values in found.items()}


def _linear(srgb: np.ndarray) -> np.ndarray:
    """Light from sRGB's numbers 0..1 (IEC 61966-2-1): glTF's vertex colours are linear."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
