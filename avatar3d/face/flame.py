# SPDX-License-Identifier: Apache-2.0
"""FLAME (Max Planck Institute for Intelligent Systems), for whoever holds its file; no part of it comes with us.

T. Li, T. Bolkart, M. J. Black, H. Li and J. Romero, "Learning a model of facial shape and expression from 4D scans",
2017. 300 directions of shape and 100 of expression, in standard deviations; lengths are m, the axes those of head
space. The jaw is a joint: its turns about each axis enter as the two directions sin and 1 - cos, which make it exact.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d._unpack import read_arrays, unpickle_arrays
from avatar3d.errors import InputError
from avatar3d.records import FaceModel, Progress, Watch, unwatched

__all__ = ["Flame"]

_U_PER_M = 10.0
_SHAPES, _EXPRESSIONS = 300, 100
_JAW, _EYES = 2, (3, 4)  # joints
_EMBEDDING = "mediapipe_landmark_embedding.npz"
_LIDS = ("eyeBlinkLeft", "l_eyelid.npy"), ("eyeBlinkRight", "r_eyelid.npy")
# sin and 1 - cos of the jaw's turn: opening (about x), to the sides (y), askew (z); usual size, lowest, highest
_JAW_TURNS = (
    ("jawOpen", 0, 0.1, -0.05, 0.6),
    ("jawSide", 1, 0.03, -0.2, 0.2),
    ("jawAskew", 2, 0.01, -0.1, 0.1),
)
_GET = (
    "sign up at https://flame.is.tue.mpg.de (research licence), download FLAME 2020 or 2023 and the MediaPipe landmark "
    "embedding, put both into one folder and name generic_model.pkl with --face-file"
)


class Flame:
    """Reads FLAME 2020 or 2023 (.pkl or .npz), with the MediaPipe embedding that its authors offer beside it.

    If l_eyelid.npy and r_eyelid.npy [5023,3] m lie in the same folder (FLAME itself cannot blink), lids close by them.
    """

    def __call__(self, file: Path | None = None, watch: Watch = unwatched) -> FaceModel:
        """The model in head space.

        Raises:
            InputError: no file is given, or it is not FLAME.
        """
        if file is None:
            raise InputError("FLAME may not be passed on, so it is not fetched", _GET)
        watch(Progress("read the face model", 0.0))
        arrays = _checked(_read(file), file)
        place = file.parent / _EMBEDDING
        if not place.is_file():
            raise InputError(f"{file.parent}: {_EMBEDDING} is not beside {file.name}", _GET)
        embedding = read_arrays(place)
        faces, weights = arrays["f"].astype(np.int64), arrays["weights"]
        shapes, lids = arrays["shapedirs"], _lids(file.parent, len(weights))
        names, jaw, sizes = _jaw(arrays)
        count = shapes.shape[2] - _SHAPES
        return FaceModel(
            name="flame",
            neutral=(arrays["v_template"] * _U_PER_M).astype(np.float32),
            triangles=faces[(weights[:, _EYES].sum(1) < 0.5)[faces].all(1)],  # eyeballs are not skin
            identity=(shapes[..., :_SHAPES] * _U_PER_M).astype(np.float32),
            expression=(np.concatenate([shapes[..., _SHAPES:], jaw, *lids.values()], 2) * _U_PER_M).astype(np.float32),
            expression_names=(*(f"flame{row:03d}" for row in range(count)), *names, *lids),
            bounds=np.concatenate(
                [np.full((2, count), [[-np.inf], [np.inf]]), sizes[1:], np.tile([[0.0], [1.0]], len(lids))], 1
            ).astype(np.float32),
            spread=np.concatenate([np.ones(count), sizes[0], np.full(len(lids), 0.3)]).astype(np.float32),
            landmarks=embedding["landmark_indices"].astype(np.int64),
            corners=faces[embedding["lmk_face_idx"].astype(np.int64)],
            shares=embedding["lmk_b_coords"].astype(np.float32),
        )


def _read(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".npz":
        return read_arrays(file)
    try:
        tree = unpickle_arrays(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})", _GET) from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{file}: not a file of FLAME's arrays ({error})", _GET) from error
    return tree if isinstance(tree, dict) else {}


def _checked(arrays: Mapping[str, Any], file: Path) -> dict[str, np.ndarray]:
    count = len(arrays["v_template"]) if isinstance(arrays.get("v_template"), np.ndarray) else 0
    shapes = {
        "v_template": (count, 3),
        "f": (None, 3),
        "weights": (count, 5),
        "shapedirs": (count, 3, _SHAPES + _EXPRESSIONS),
        "J_regressor": (5, count),
        "posedirs": (count, 3, 36),
    }
    for name, shape in shapes.items():
        array = arrays.get(name)
        if (
            not isinstance(array, np.ndarray)
            or array.ndim != len(shape)
            or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True))
        ):
            came = array.shape if isinstance(array, np.ndarray) else "nothing"
            raise InputError(f"{file}: {name} of FLAME should have the shape {shape}, {came} came", _GET)
    return {name: np.asarray(arrays[name]) for name in shapes}


def _jaw(arrays: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names [J], displacements [V,3,J] m per unit, and usual size, lowest, highest [3,J] of the jaw's turns.

    A turn by R moves a vertex by weight * (R - 1)(v - joint), and by the pose's own correction, which is linear in
    R - 1 too; about one axis R - 1 = sin * S + (1 - cos) * S S, where S v is the axis cross v.
    """
    arm = arrays["v_template"] - arrays["J_regressor"][_JAW] @ arrays["v_template"]
    corrections = arrays["posedirs"][..., 9 * (_JAW - 1) : 9 * _JAW].reshape(*arm.shape, 3, 3)
    names, fields, sizes = [], [], []
    for name, axis, usual, low, high in _JAW_TURNS:
        cross = np.cross(np.eye(3)[axis], np.eye(3)).T  # cross @ v = axis x v
        for part, matrix in (("", cross), ("Bend", cross @ cross)):
            skinned = arrays["weights"][:, [_JAW]] * (arm @ matrix.T)
            fields.append(skinned + np.einsum("vcij,ij->vc", corrections, matrix))
            names.append(name + part)
            bent = 1 - np.sqrt(1 - max(abs(low), high) ** 2)
            sizes.append((usual, low, high) if not part else (usual**2 / 2, 0.0, bent))
    return tuple(names), np.stack(fields, -1), np.array(sizes).T


def _lids(folder: Path, count: int) -> dict[str, np.ndarray]:
    """[V,3,1] m by name, of the files of lids that are there."""
    found = {}
    for name, file in _LIDS:
        if (folder / file).is_file():
            try:
                found[name] = np.load(folder / file, allow_pickle=False).reshape(count, 3, 1)
            except (OSError, ValueError) as error:
                raise InputError(f"{folder / file}: no displacement per vertex ({error})", "remove the file") from error
    return found
