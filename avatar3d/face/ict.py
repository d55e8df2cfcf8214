# SPDX-License-Identifier: Apache-2.0
"""ICT-FaceKit (USC Institute for Creative Technologies, MIT licence): 100 ways to differ, 55 to move by ARKit's names.

R. Li and others, "Learning Formation of Physically-Based Face Attributes", CVPR 2020. Lengths are cm; the axes are
those of head space.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from avatar3d import assets
from avatar3d._unpack import read_arrays
from avatar3d.errors import InputError
from avatar3d.face.correspond import IBUG, IBUG_OUTLINE
from avatar3d.records import FaceModel, Watch, unwatched

__all__ = ["Ict"]

_CM_PER_U = 10.0
_SKIN = ("M_Face", "M_BackHead")
_NOT_SKIN = ("PupilDilate_L", "PupilDilate_R")
_CHIN = 8  # of iBUG's outline the one point that everybody puts in the same place
_SPREAD = 0.3


class Ict:
    """Reads ICT-FaceKit, three files that `assets` knows."""

    def __call__(self, file: Path | None = None, watch: Watch = unwatched) -> FaceModel:
        """The model in head space; `file` is not asked for.

        Raises:
            InputError: the files are nowhere to be had, or `file` is given.
        """
        if file is not None:
            raise InputError(
                f"{file}: ICT-FaceKit needs no file of yours", "leave out --face-file, or choose flame or bfm"
            )
        moving = read_arrays(assets.find(assets.ICT_EXPRESSIONS, watch))
        differing = read_arrays(assets.find(assets.ICT_IDENTITIES, watch))
        places = json.loads(assets.find(assets.ICT_VERTICES, watch).read_text(encoding="utf-8"))
        names = [str(name) for name in moving["expression_names"]]
        kept = [row for row, name in enumerate(names) if name not in _NOT_SKIN]
        anchors = [row for row in range(len(IBUG)) if row >= IBUG_OUTLINE or row == _CHIN]
        vertices = np.array(places["idx_to_landmark_verts"])[anchors]
        return FaceModel(
            name="ict",
            neutral=moving["neutral"] / np.float32(_CM_PER_U),
            triangles=_skin(moving),
            identity=np.moveaxis(differing["identity_deltas"], 0, -1).astype(np.float32) / np.float32(_CM_PER_U),
            expression=np.moveaxis(moving["expression_deltas"][kept], 0, -1) / np.float32(_CM_PER_U),
            expression_names=tuple(_arkit_name(names[row]) for row in kept),
            bounds=np.repeat(np.array([[0], [1]], np.float32), len(kept), 1),
            spread=np.full(len(kept), _SPREAD, np.float32),
            landmarks=np.array(IBUG)[anchors],
            corners=np.repeat(vertices[:, None], 3, 1),
            shares=np.eye(3, dtype=np.float32)[np.zeros(len(anchors), int)],
        )


def _skin(arrays: dict[str, np.ndarray]) -> np.ndarray:
    materials = [str(name) for name in arrays["materials"]]
    quads = arrays["quads"][np.isin(arrays["face_material"], [materials.index(name) for name in _SKIN])]
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64)


def _arkit_name(name: str) -> str:
    """ICT writes browDown_L what ARKit calls browDownLeft."""
    return (
        name.removesuffix("_L") + "Left"
        if name.endswith("_L")
        else (name.removesuffix("_R") + "Right" if name.endswith("_R") else name)
    )
