# SPDX-License-Identifier: Apache-2.0
"""The Basel Face Model of 2009 (University of Basel), for whoever holds its file; no part of it comes with us.

P. Paysan and others, "A 3D Face Model for Pose and Illumination Invariant Face Recognition", 2009; expressions after
FaceWarehouse (C. Cao and others, 2014). Two layouts that other programs make of it are read: Deep3DFaceRecon's
BFM_model_front.mat (1 = 10 cm) and AD-NeRF's 3DMM_info.npy (um) with the files beside it. The axes are those of head
space. The model of Basel alone, 01_MorphableModel.mat, has no expressions.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from avatar3d._unpack import unpickle_arrays
from avatar3d.errors import InputError
from avatar3d.face.groups import IBUG, IBUG_OUTLINE
from avatar3d.records import FaceModel, Progress, Watch, unwatched

__all__ = ["Bfm"]

_U_PER_UM = 1e-5
_CHIN = 8
_KEYS, _TOPOLOGY = "keys_info.npy", "topology_info.npy"
_GET = (
    "sign up at https://faces.dmi.unibas.ch/bfm (research licence), make BFM_model_front.mat with Deep3DFaceRecon's "
    "instructions or 3DMM_info.npy with AD-NeRF's, and name it with --face-file"
)


class Bfm:
    """Reads BFM 2009 with expressions: BFM_model_front.mat or 3DMM_info.npy."""

    def __call__(self, file: Path | None = None, watch: Watch = unwatched) -> FaceModel:
        """The model in head space.

        Raises:
            InputError: no file is given, or it is not one of the two layouts.
        """
        if file is None:
            raise InputError("the Basel Face Model may not be passed on, so it is not fetched", _GET)
        watch(Progress("read the face model", 0.0))
        try:
            return _from_npy(file) if file.suffix == ".npy" else _from_mat(file)
        except KeyError as error:
            raise InputError(f"{file}: not a Basel Face Model with expressions (no {error} in it)", _GET) from error
        except (ValueError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file}: arrays that do not fit together ({error})", _GET) from error


def _from_mat(file: Path) -> FaceModel:
    try:
        arrays = scipy.io.loadmat(file)
    except (OSError, ValueError, NotImplementedError, TypeError, MatReadError) as error:
        raise InputError(f"{file}: not a MATLAB file ({error})", _GET) from error
    return _model(
        arrays["meanshape"].reshape(-1, 3),
        arrays["idBase"],
        arrays["exBase"],
        arrays["tri"].astype(np.int64) - 1,
        arrays["keypoints"].reshape(-1).astype(np.int64) - 1,
    )


def _from_npy(file: Path) -> FaceModel:
    arrays, keys, topology = (_dictionary(path) for path in (file, file.parent / _KEYS, file.parent / _TOPOLOGY))
    differing, moving = len(arrays["b_shape"]), len(arrays["b_exp"])
    return _model(
        (arrays["mu_shape"] + arrays["mu_exp"]).reshape(-1, 3) * _U_PER_UM,
        (arrays["b_shape"] * arrays["sig_shape"].reshape(-1)[:differing, None]).T * _U_PER_UM,
        (arrays["b_exp"] * arrays["sig_exp"].reshape(-1)[:moving, None]).T * _U_PER_UM,
        np.asarray(topology["tris"], np.int64),
        np.asarray(keys["keyinds"], np.int64).reshape(-1),
    )


def _dictionary(path: Path) -> Mapping[str, Any]:
    """The arrays by name in a dictionary that numpy has saved; nothing in the file is executed."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file) if version == (1, 0) else np.lib.format.read_array_header_2_0(
                file
            )
            found = unpickle_arrays(file.read())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", _GET) from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: not a dictionary of arrays ({error})", _GET) from error
    held = found.item() if isinstance(found, np.ndarray) and found.shape == () else None
    if not isinstance(held, dict):
        raise InputError(f"{path}: not a dictionary of arrays", _GET)
    return held


def _model(
    mean: np.ndarray, differing: np.ndarray, moving: np.ndarray, triangles: np.ndarray, keys: np.ndarray
) -> FaceModel:
    """Of mean [V,3] u, fields [3V,I] and [3V,E] u per standard deviation, triangles [F,3], iBUG's 68 vertices."""
    anchors = [row for row in range(len(IBUG)) if row >= IBUG_OUTLINE or row == _CHIN]
    vertices = keys[anchors]
    count = moving.shape[1]
    return FaceModel(
        name="bfm",
        neutral=(mean - mean.mean(0)).astype(np.float32),
        triangles=_outwards(mean, triangles),
        identity=differing.reshape(len(mean), 3, -1).astype(np.float32),
        expression=moving.reshape(len(mean), 3, -1).astype(np.float32),
        expression_names=tuple(f"bfm{row:03d}" for row in range(count)),
        bounds=np.repeat(np.array([[-np.inf], [np.inf]], np.float32), count, 1),
        spread=np.ones(count, np.float32),
        landmarks=np.array(IBUG)[anchors],
        corners=np.repeat(vertices[:, None], 3, 1),
        shares=np.eye(3, dtype=np.float32)[np.zeros(len(anchors), int)],
    )


def _outwards(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles, turned round if they look into the face: some copies of the model list them clockwise."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    facing = np.cross(b - a, c - a)[:, 2].sum()
    return triangles if facing > 0 else triangles[:, ::-1].copy()
