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
import scipy.sparse
from safetensors import SafetensorError
from safetensors.numpy import load_file

from avatar3d.errors import InputError

LPIPS_LAYERS = 5


def _blank_array(*_: Any) -> np.ndarray:
    # a pickled array first asks for an empty one, then sets its shape, type and values
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _latin1(text: str, _: str = "latin1") -> bytes:
    # how Python 3 writes bytes for Python 2; any other encoding would be a program of its own
    return text.encode("latin1")


class _Held:
    """Stands in for an object of a library: keeps what was pickled of it, and does nothing."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _held(*_: Any) -> _Held:
    return _Held()


class _ArraysOnly(pickle.Unpickler):
    """Admits dictionaries of numpy arrays; any other class or function in the pickle is refused.

    Sparse matrices of scipy and arrays of chumpy come as what they hold: no code of either library runs.
    """

    _admitted: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _blank_array,
        ("numpy._core.multiarray", "_reconstruct"): _blank_array,
        ("chumpy.ch", "Ch"): _Held,
        ("scipy.sparse.csc", "csc_matrix"): _Held,
        ("scipy.sparse._csc", "csc_matrix"): _Held,
        ("copy_reg", "_reconstructor"): _held,
        ("copyreg", "_reconstructor"): _held,
        ("__builtin__", "object"): object,
        ("builtins", "object"): object,
        ("__builtin__", "set"): set,
        ("builtins", "set"): set,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array") from None


def unpickle_arrays(data: bytes) -> Any:
    """The nested dictionaries of arrays in a pickle of Python 2 or 3.

    Raises:
        pickle.UnpicklingError: it holds anything else.
    """
    return _plain(_ArraysOnly(io.BytesIO(data), encoding="latin1").load())


def _plain(value: Any) -> Any:
    """Arrays in place of what held them."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if not isinstance(value, _Held):
        return value
    state = getattr(value, "state", None)
    if isinstance(state, dict) and {"data", "indices", "indptr", "_shape"} <= state.keys():
        return scipy.sparse.csc_matrix(
            (state["data"], state["indices"], state["indptr"]), shape=state["_shape"]
        ).toarray()
    if isinstance(state, dict) and isinstance(state.get("x"), np.ndarray):
        return state["x"]
    raise pickle.UnpicklingError("it holds an object that is no array")


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
