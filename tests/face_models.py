# SPDX-License-Identifier: Apache-2.0
"""A made-up face model on the canonical mesh, and the same in the layouts of FLAME's and Basel's files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import IBUG, IBUG_OUTLINE

ANCHORS = np.array([name for row, name in enumerate(IBUG) if row >= IBUG_OUTLINE or row == 8])


def fields(face: CanonicalFace, count: int, size_u: float, seed: int) -> np.ndarray:
    """Smooth displacements [468,3,count] u."""
    rng = np.random.default_rng(seed)
    centres = face.vertices[rng.integers(0, len(face.vertices), count)]
    near = np.exp(-((np.linalg.norm(face.vertices[:, None] - centres, axis=-1) / 0.5) ** 2))
    return near[:, None] * rng.standard_normal((3, count)) * size_u


def bent(face: CanonicalFace, scale: float = 1.0) -> np.ndarray:
    """Another mean face [468,3]: the canonical one, a little different and elsewhere."""
    return scale * (face.vertices.astype(np.float64) + fields(face, 6, 0.03, 7).sum(-1) + (0.1, -0.2, 0.3))


class Ch:
    """Pickles as chumpy's arrays do."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._dirty_vars = {"x"}


Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"


def flame_arrays(face: CanonicalFace) -> dict[str, Any]:
    """FLAME's arrays on the canonical mesh, m; the jaw turns what lies below the mouth."""
    count, rng = len(face.vertices), np.random.default_rng(3)
    weights = np.zeros((count, 5))
    weights[:, 2] = 1 / (1 + np.exp((face.vertices[:, 1] + 0.42) * 40))
    weights[:, 1] = 1 - weights[:, 2]
    regressor = np.zeros((5, count))
    regressor[:, 168] = 1.0
    regressor[2] = np.eye(count)[[127, 356]].mean(0)
    return {
        "v_template": bent(face) / 10,
        "f": face.triangles.astype(np.uint32),
        "weights": weights,
        "shapedirs": fields(face, 400, 0.02, 4) / 10,
        "J_regressor": regressor,
        "posedirs": rng.standard_normal((count, 3, 36)) * 1e-4,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "bs_type": "lrotmin",
    }


def write_flame(folder: Path, face: CanonicalFace, monkeypatch: Any) -> Path:
    """generic_model.pkl with chumpy's arrays and a sparse matrix, as FLAME 2020 comes, and the embedding beside it."""
    import sys
    import types

    arrays = flame_arrays(face)
    for name in ("v_template", "shapedirs", "weights"):
        arrays[name] = Ch(arrays[name])
    arrays["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    module = types.ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    path = folder / "generic_model.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    write_embedding(folder, face)
    return path


def write_embedding(folder: Path, face: CanonicalFace) -> None:
    """mediapipe_landmark_embedding.npz: each anchor at a corner of some triangle."""
    rows = [int(np.flatnonzero((face.triangles == name).any(1))[0]) for name in ANCHORS]
    np.savez(
        folder / "mediapipe_landmark_embedding.npz",
        lmk_face_idx=rows,
        lmk_b_coords=(face.triangles[rows] == ANCHORS[:, None]).astype(float),
        landmark_indices=ANCHORS,
    )


def write_bfm_mat(folder: Path, face: CanonicalFace) -> Path:
    """BFM_model_front.mat, its triangles clockwise and counted from 1."""
    path = folder / "BFM_model_front.mat"
    scipy.io.savemat(
        path,
        {
            "meanshape": bent(face).reshape(1, -1),
            "idBase": fields(face, 80, 0.02, 4).reshape(-1, 80),
            "exBase": fields(face, 64, 0.02, 5).reshape(-1, 64),
            "tri": face.triangles[:, ::-1] + 1,
            "keypoints": np.array([IBUG]) + 1,
        },
    )
    return path


def write_bfm_npy(folder: Path, face: CanonicalFace) -> Path:
    """3DMM_info.npy, um, with the two files that belong to it."""
    path = folder / "3DMM_info.npy"
    sigma = np.linspace(2.0, 1.0, 80), np.linspace(3.0, 1.0, 64)
    info = {
        "mu_shape": bent(face).reshape(-1) * 1e5 - 7.0,
        "mu_exp": np.full(face.vertices.size, 7.0),
        "b_shape": fields(face, 80, 0.02, 4).reshape(-1, 80).T * 1e5 / sigma[0][:, None],
        "b_exp": fields(face, 64, 0.02, 5).reshape(-1, 64).T * 1e5 / sigma[1][:, None],
        "sig_shape": np.append(sigma[0], np.ones(119)),  # the file keeps all 199
        "sig_exp": sigma[1],
    }
    np.save(path, info)  # type: ignore[arg-type]
    np.save(folder / "keys_info.npy", {"keyinds": np.array(IBUG)})  # type: ignore[arg-type]
    np.save(folder / "topology_info.npy", {"tris": face.triangles})  # type: ignore[arg-type]
    return path
