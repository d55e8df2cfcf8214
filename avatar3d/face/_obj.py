# SPDX-License-Identifier: Apache-2.0
"""Wavefront .obj files: vertices, and faces by material."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar3d.errors import InputError


def obj_vertices(path: Path) -> np.ndarray:
    """Vertices [V,3] float32 of an .obj file.

    Raises:
        InputError: missing, or another kind of file.
    """
    words = [line[2:] for line in _lines(path) if line.startswith(b"v ")]
    try:
        return np.array(b" ".join(words).split(), np.float32).reshape(len(words), 3)
    except ValueError as error:
        raise InputError(f"{path}: not a Wavefront .obj file ({error})", "fetch the file again") from error


def obj_triangles(path: Path, materials: tuple[str, ...]) -> np.ndarray:
    """Triangles [F,3] int64 of the faces of an .obj file that have one of `materials`; larger faces become fans."""
    triangles, wanted = [], False
    for line in _lines(path):
        if line.startswith(b"usemtl "):
            wanted = line[7:].strip().decode(errors="replace") in materials
        elif wanted and line.startswith(b"f "):
            corners = [int(word.split(b"/")[0]) - 1 for word in line[2:].split()]
            triangles += [(corners[0], *corners[at : at + 2]) for at in range(1, len(corners) - 1)]
    return np.array(triangles, np.int64).reshape(-1, 3)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "name the folder that holds it") from error
