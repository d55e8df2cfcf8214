# SPDX-License-Identifier: Apache-2.0
"""Weights as named arrays, whatever file they came in; nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from avatar3d.errors import InputError

LPIPS_LAYERS = 5


def _blank_array(*_: Any) -> np.ndarray:
    # a pickled array first asks for an empty one, then sets its shape, type and values
    return np.ndarray.__new__(np.ndarray, (0,), "b")


class _ArraysOnly(pickle.Unpickler):
    """Admits dictionaries of numpy arrays; any other class or function in the pickle is refused."""

    _admitted: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _blank_array,
        ("numpy._core.multiarray", "_reconstruct"): _blank_array,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array") from None


def unpickle_arrays(data: bytes) -> Any:
    """The nested dictionaries of arrays in a pickle.

    Raises:
        pickle.UnpicklingError: it holds anything else.
    """
    return _ArraysOnly(io.BytesIO(data)).load()


def lpips_from_flax(data: bytes) -> dict[str, np.ndarray]:
    """LPIPS and its AlexNet trunk out of a pickled flax model (kernels HWIO): w{i} [O,I,h,w], b{i} [O], h{i} [O]."""
    tree = unpickle_arrays(data)
    arrays = {}
    for layer in range(LPIPS_LAYERS):
        trunk = tree["AlexNet_0"][f"Conv_{layer}"]
        arrays[f"w{layer}"] = np.ascontiguousarray(np.asarray(trunk["kernel"]).transpose(3, 2, 0, 1))
        arrays[f"b{layer}"] = np.asarray(trunk["bias"])
        arrays[f"h{layer}"] = np.asarray(tree[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"]).reshape(-1)
    return arrays


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors or .npz file.

    Raises:
        InputError: missing, damaged, or another kind of file.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "name a .safetensors or .npz file") from error
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no arrays can be read from it ({error})", "fetch the file again") from error


def arrays_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and values: the same weights have it in any container."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
