# SPDX-License-Identifier: Apache-2.0
"""The canonical face: 468 vertices, texture coordinates and 898 triangles, read from face_landmarker.task.

The .task file is a zip archive; its entry `geometry_pipeline_metadata_landmarks.binarypb` is a protocol-buffer message
whose field 1 is a mesh: field 3 holds x, y, z, u, v per vertex (cm), field 4 the triangles' corners.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d.errors import InputError

_ENTRY = "geometry_pipeline_metadata_landmarks.binarypb"
_CM_PER_U = 10.0
_VARINT, _LENGTH, _FIXED32 = 0, 2, 5


@dataclass(frozen=True)
class CanonicalFace:
    """The average face. Its triangles also close the eyes and the mouth: 898 = 2 * 468 - 2 - 36 (no holes)."""

    vertices: np.ndarray  # [468,3] float32 u: x to the image's right, y up, z out of the face
    uv: np.ndarray  # [468,2] float32 0..1, v downwards
    triangles: np.ndarray  # [898,3] int64, counter-clockwise seen from the front


def load_canonical(task: Path) -> CanonicalFace:
    """Reads the canonical face out of a face_landmarker.task file.

    Raises:
        InputError: the file is no such archive.
    """
    try:
        with zipfile.ZipFile(task) as archive:
            message = archive.read(_ENTRY)
        mesh = next(value for field, value in _fields(message) if field == 1)
        if not isinstance(mesh, bytes):
            raise ValueError("field 1 is not a message")
        numbers, corners = _mesh_numbers(mesh)
        table = np.array(numbers, np.float32).reshape(468, 5)
        triangles = np.array(corners, np.int64).reshape(898, 3)
    except (OSError, KeyError, zipfile.BadZipFile, StopIteration, ValueError, IndexError, struct.error) as error:
        raise InputError(f"{task}: no canonical face in this file ({error})", "fetch face_landmarker.task") from error
    return CanonicalFace(table[:, :3] / _CM_PER_U, table[:, 3:].copy(), triangles)


def _mesh_numbers(mesh: bytes) -> tuple[list[float], list[int]]:
    numbers: list[float] = []
    corners: list[int] = []
    for field, value in _fields(mesh):
        if field == 3 and isinstance(value, bytes):
            numbers += struct.unpack(f"<{len(value) // 4}f", value)
        elif field == 4 and isinstance(value, bytes):
            corners += _varints(value)
        elif field == 4 and isinstance(value, int):
            corners.append(value)
    return numbers, corners


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, payload) of a protocol-buffer message; fixed32 payloads stay bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            number, at = _varint(message, at)
            yield field, number
        elif wire == _FIXED32:
            yield field, message[at : at + 4]
            at += 4
        elif wire == _LENGTH:
            size, at = _varint(message, at)
            yield field, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire} is not used by this message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number
