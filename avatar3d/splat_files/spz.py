# SPDX-License-Identifier: Apache-2.0
"""SPZ, Niantic's compressed splats, version 3: about a tenth of a PLY's bytes, rounded as below.

One gzip stream: a header of 16 bytes (magic NGSP, version, count; degree of harmonics, bits behind the point of a
position, flags, 0), then all positions (24-bit fixed point), opacities (8 bits), colours (8 bits, f_dc * .15 + .5),
scales (8 bits, 16 steps per e-fold from e^-10), rotations: of the quaternion xyzw, the place of the largest component
(2 bits) and the other three in order (10 bits: sign, then size in 511ths of sqrt(1/2)). Axes are x right, y up, z
backward; there is no unit. Source: the format's own description, github.com/nianticlabs/spz.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from avatar3d.errors import InputError
from avatar3d.records import Gaussians
from avatar3d.splat_files._plain import SH_0, arrays, check, gaussians_from, refuse_harmonics, unit

__all__ = ["Spz"]

_MAGIC, _VERSION, _FIRST_THREE_VERSION = 0x5053474E, 3, 2
_HEADER = struct.Struct("<IIIBBBB")
_GZIP = 31  # window bits by which zlib reads gzip
_POSITION_BITS = 23
_MOST_FRACTION_BITS = 14  # .006 mm of a head; more only makes files larger
_COLOUR = 0.15
_SCALES_PER_E, _LEAST_LOG_SCALE = 16.0, -10.0
_COMPONENT = 511 * math.sqrt(2)
_HARMONICS = (0, 3, 8, 15, 24)  # above the constant, per degree
_MOST_SPLATS = 10_000_000
_LEAST_ALPHA = 1 / 1024  # what 0 and 255 stand for: the middle of the last quarter of a step


class Spz:
    """Positions to 2^-14 u for a head, scales to 3 %, colours and opacities to 8 bits."""

    suffixes: ClassVar[tuple[str, ...]] = (".spz",)

    def write(self, path: Path, gaussians: Gaussians, about: str = "") -> None:  # noqa: ARG002 - no place for text
        """See contracts.WriteSplats."""
        given = arrays(gaussians)
        largest = float(np.abs(given["means"]).max(initial=1e-6))
        fraction = min(_MOST_FRACTION_BITS, _POSITION_BITS - math.ceil(math.log2(largest * (1 + 1e-6))))
        if fraction < 0:
            raise InputError(f"{path}: splats {largest:g} u away", "leave those out")
        alphas = 1 / (1 + np.exp(-given["opacity_logits"].astype(np.float64)))
        streams = [
            _fixed_point(given["means"], fraction),
            _byte(255 * alphas),
            _byte(255 * ((given["colours"] - 0.5) / SH_0 * _COLOUR + 0.5)),
            _byte((given["log_scales"] - _LEAST_LOG_SCALE) * _SCALES_PER_E),
            _smallest_three(given["quats"]),
        ]
        header = _HEADER.pack(_MAGIC, _VERSION, len(alphas), 0, fraction, 0, 0)
        packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
        path.write_bytes(packer.compress(header + b"".join(streams)) + packer.flush())

    def read(self, path: Path) -> Gaussians:
        """See contracts.ReadSplats; versions 2 and 3."""
        try:
            found, harmonics = _unpacked(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})", "name an SPZ file") from error
        except (ValueError, zlib.error, struct.error) as error:
            raise InputError(
                f"{path}: not a readable SPZ ({error})", "write it again, as SPZ version 3 or as PLY"
            ) from error
        if harmonics:
            refuse_harmonics(path)
        check(path, found)
        return gaussians_from(found)


def _unpacked(data: bytes) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays as `arrays` gives them, and whether colours change with the view; ValueError where this is no SPZ."""
    if data[:4] == _MAGIC.to_bytes(4, "little"):
        raise ValueError(f"version {int.from_bytes(data[4:8], 'little')}")
    packed = zlib.decompressobj(_GZIP)
    header = packed.decompress(data, _HEADER.size)
    magic, version, count, degree, fraction, _, _ = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise ValueError("no SPZ inside the gzip")
    if version not in (_FIRST_THREE_VERSION, _VERSION):
        raise ValueError(f"version {version}")
    if degree >= len(_HARMONICS) or count > _MOST_SPLATS:
        raise ValueError(f"{count} splats with harmonics of degree {degree}")
    turn = 4 if version == _VERSION else 3
    widths = (9, 1, 3, 3, turn, 3 * _HARMONICS[degree])
    # no more than what the header promises: a small file can hold gigabytes
    body = packed.decompress(packed.unconsumed_tail, count * sum(widths)) if count else b""
    if len(body) < count * sum(widths):
        raise ValueError("cut short")
    edges = np.cumsum((0, *widths)) * count
    streams = [np.frombuffer(body, np.uint8, width * count, start).reshape(count, width)
               for width, start in zip(widths, edges[:-1].tolist(), strict=True)]  # fmt: skip
    positions, alphas, colours, scales, turns, harmonics = streams
    alpha = (alphas[:, 0] / 255).clip(_LEAST_ALPHA, 1 - _LEAST_ALPHA)
    return {
        "means": _from_fixed_point(positions) * 2.0**-fraction,
        "quats": _from_smallest_three(turns) if version == _VERSION else _from_first_three(turns),
        "log_scales": scales / _SCALES_PER_E + _LEAST_LOG_SCALE,
        "opacity_logits": np.log(alpha / (1 - alpha)),
        "colours": (colours / 255 - 0.5) / _COLOUR * SH_0 + 0.5,
    }, bool((harmonics != 128).any())  # fmt: skip


def _byte(values: np.ndarray) -> bytes:
    return values.round().clip(0, 255).astype(np.uint8).tobytes()


def _fixed_point(means: np.ndarray, fraction: int) -> bytes:
    """[N,3] as signed 24-bit numbers, low byte first."""
    whole = np.round(means.astype(np.float64) * 2**fraction).clip(-(2**_POSITION_BITS), 2**_POSITION_BITS - 1)
    return np.ascontiguousarray(whole.astype("<i4")[..., None].view(np.uint8)[..., :3]).tobytes()


def _from_fixed_point(positions: np.ndarray) -> np.ndarray:
    """[N,3] whole numbers of bytes [N,9]."""
    low, middle, high = positions.reshape(-1, 3, 3).astype(np.int32).transpose(2, 0, 1)
    return low + (middle << 8) + ((high ^ 128) - 128 << 16)


def _smallest_three(quats: np.ndarray) -> bytes:
    """[N,4] wxyz as 32 bits each, the first of the three smaller components highest."""
    turned = np.roll(unit(quats), -1, 1)  # xyzw
    largest = np.abs(turned).argmax(1)
    turned = turned * np.where(np.take_along_axis(turned, largest[:, None], 1) < 0, -1, 1)
    others = turned[_others(largest)].reshape(-1, 3)
    size = (np.abs(others) * _COMPONENT).round().clip(0, 511).astype(np.uint32)
    parts = size | (others < 0).astype(np.uint32) << 9
    packed = largest.astype(np.uint32) << 30 | parts[:, 0] << 20 | parts[:, 1] << 10 | parts[:, 2]
    return packed.astype("<u4").tobytes()


def _from_smallest_three(turns: np.ndarray) -> np.ndarray:
    """Quaternions [N,4] wxyz of bytes [N,4]."""
    packed = np.ascontiguousarray(turns).view("<u4")[:, 0]
    parts = packed[:, None] >> np.array([20, 10, 0], np.uint32) & 1023
    others = np.where(parts >> 9, -1.0, 1.0) * (parts & 511) / _COMPONENT
    largest = (packed >> 30).astype(np.int64)
    turned = np.zeros((len(packed), 4))
    turned[_others(largest)] = others.ravel()
    turned[np.arange(len(packed)), largest] = np.sqrt((1 - np.square(others).sum(1)).clip(0))
    return np.roll(unit(turned), 1, 1)


def _others(largest: np.ndarray) -> np.ndarray:
    """[N,4] bool: all components but one a row."""
    return np.arange(4) != largest[:, None]


def _from_first_three(turns: np.ndarray) -> np.ndarray:
    """Quaternions [N,4] wxyz of version 2's bytes [N,3]: x, y, z with w >= 0."""
    xyz = turns / 127.5 - 1
    return np.concatenate([np.sqrt((1 - np.square(xyz).sum(1, keepdims=True)).clip(0)), xyz], 1)
