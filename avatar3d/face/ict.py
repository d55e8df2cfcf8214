# SPDX-License-Identifier: Apache-2.0
"""ICT-FaceKit (USC Institute for Creative Technologies, MIT licence): 100 ways to differ, 53 to move by ARKit's names.

R. Li and others, "Learning Formation of Physically-Based Face Attributes", CVPR 2020. Lengths are cm; the axes are
those of head space. The expressions are the model's own neutral moved, the identities likewise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avatar3d import assets
from avatar3d._unpack import read_arrays
from avatar3d.errors import InputError
from avatar3d.face._obj import obj_triangles, obj_vertices
from avatar3d.face.groups import IBUG, IBUG_OUTLINE
from avatar3d.records import FaceModel, Progress, Watch, unwatched

__all__ = ["Ict"]

_CM_PER_U = np.float32(10)
_SKIN = ("M_Face", "M_BackHead")
_CHIN = 8  # of iBUG's outline the one point that everybody puts in the same place
_SPREAD = 0.3
_IDENTITIES = 100
_FILES = (assets.ICT_EXPRESSIONS, assets.ICT_IDENTITIES, assets.ICT_VERTICES)
_VERTICES, _NEUTRAL = "vertex_indices.json", "generic_neutral_mesh"


class Ict:
    """Reads ICT-FaceKit: the three files that `assets` knows, or the folder FaceXModel of its own repository."""

    def __call__(self, file: Path | None = None, watch: Watch = unwatched) -> FaceModel:
        """The model in head space.

        Raises:
            InputError: the files are nowhere to be had, or not ICT-FaceKit's.
        """
        if file is not None:
            return _from_folder(file, watch)
        if any(assets.state(name)["where"] == "absent" for name in _FILES[:2]):
            raise InputError(
                "ICT-FaceKit is not on this machine",
                "`git clone https://github.com/ICT-VGL/ICT-FaceKit` (MIT licence), then add --face-file "
                "ICT-FaceKit/FaceXModel",
            )
        moving, differing = (read_arrays(assets.find(name, watch)) for name in _FILES[:2])
        about = json.loads(assets.find(assets.ICT_VERTICES, watch).read_text(encoding="utf-8"))
        rows = [moving["expression_names"].tolist().index(name) for name in about["expressions"]]
        materials = [str(name) for name in moving["materials"]]
        quads = moving["quads"][np.isin(moving["face_material"], [materials.index(name) for name in _SKIN])]
        return _model(
            moving["neutral"],
            np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64),
            differing["identity_deltas"],
            about["expressions"],
            moving["expression_deltas"][rows],
            about["idx_to_landmark_verts"],
        )


def _from_folder(folder: Path, watch: Watch) -> FaceModel:
    if not (folder / _VERTICES).is_file():
        raise InputError(
            f"{folder}: not the folder FaceXModel of ICT-FaceKit (it holds no {_VERTICES})",
            "`git clone https://github.com/ICT-VGL/ICT-FaceKit` and name its folder FaceXModel",
        )
    about = json.loads((folder / _VERTICES).read_text(encoding="utf-8"))
    neutral = obj_vertices(folder / f"{_NEUTRAL}.obj")
    names = about["expressions"]
    identities = sorted(path.stem for path in folder.glob("identity*.obj"))[:_IDENTITIES]
    fields: list[np.ndarray] = []
    for name in (*identities, *names):
        watch(Progress("read the face model", len(fields) / (len(identities) + len(names))))
        moved = obj_vertices(folder / f"{name}.obj")
        if moved.shape != neutral.shape:
            raise InputError(f"{folder / name}.obj: {len(moved)} vertices, expected {len(neutral)}", "fetch it again")
        fields.append(moved - neutral)
    stack = np.stack(fields)
    return _model(
        neutral,
        obj_triangles(folder / f"{_NEUTRAL}.obj", _SKIN),
        stack[: len(identities)],
        names,
        stack[len(identities) :],
        about["idx_to_landmark_verts"],
    )


def _model(
    neutral: np.ndarray,
    triangles: np.ndarray,
    identities: np.ndarray,
    names: Sequence[str],
    expressions: np.ndarray,
    landmarks: Sequence[int],
) -> FaceModel:
    anchors = [row for row in range(len(IBUG)) if row >= IBUG_OUTLINE or row == _CHIN]
    vertices = np.array(landmarks)[anchors]
    return FaceModel(
        name="ict",
        neutral=neutral / _CM_PER_U,
        triangles=triangles,
        identity=np.moveaxis(identities, 0, -1).astype(np.float32) / _CM_PER_U,
        expression=np.moveaxis(expressions, 0, -1) / _CM_PER_U,
        expression_names=tuple(_arkit_name(name) for name in names),
        bounds=np.repeat(np.array([[0], [1]], np.float32), len(names), 1),
        spread=np.full(len(names), _SPREAD, np.float32),
        landmarks=np.array(IBUG)[anchors],
        corners=np.repeat(vertices[:, None], 3, 1),
        shares=np.eye(3, dtype=np.float32)[np.zeros(len(anchors), int)],
    )


def _arkit_name(name: str) -> str:
    """ICT writes browDown_L what ARKit calls browDownLeft."""
    for short, long in (("_L", "Left"), ("_R", "Right")):
        if name.endswith(short):
            return name.removesuffix(short) + long
    return name
