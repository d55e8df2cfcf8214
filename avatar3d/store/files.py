# SPDX-License-Identifier: Apache-2.0
"""Writing and reading single files: never half of one, nothing pickled, damage said in words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import Tensor

from avatar3d.errors import InputError

_LEFT_OVER = ".part-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (file or folder) that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: writers look at it to choose a format
    part = path.with_name(f"{path.stem}{_LEFT_OVER}{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield part
        if part.is_file():
            # safetensors writes for the owner alone; an avatar is made to be passed on
            part.chmod(0o666 & ~_umask())
        _rename(part, path)
    finally:
        _remove(part)


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _rename(part: Path, path: Path) -> None:
    if not (part.is_dir() and path.exists()):
        part.replace(path)
        return
    old = path.with_name(f"{path.stem}{_LEFT_OVER}{uuid.uuid4().hex[:8]}{path.suffix}")
    path.replace(old)
    part.replace(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what an interrupted run left half-written in `folder`."""
    for left in folder.glob(f"*{_LEFT_OVER}*"):
        _remove(left)


def file_hash(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: Any) -> str:
    """A short hash of settings and of upstream keys: a stage whose key is unchanged need not run again."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Writes JSON values, indented."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON; damaged or missing files are the user's to mend."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "check the folder's name") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})", "the folder is damaged; make it again") from error


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a safetensors file and the JSON values in its `about` entry."""
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return arrays, json.loads((file.metadata() or {}).get("about", "{}"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "run the stage that writes it, or name another folder") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "the file is damaged; make it again") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_arrays`, but torch tensors."""
    arrays, about = load_arrays(path)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, about


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Writes tensors as safetensors, with JSON values beside them."""
    with replacing(path) as part:
        save_tensors(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
            part,
            metadata={"about": json.dumps(about or {})},
        )


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None) -> None:
    """Writes arrays as safetensors, with JSON values beside them."""
    packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as part:
        save_file(packed, part, metadata={"about": json.dumps(about or {})})


def checked(about: dict[str, Any], version: int, path: Path) -> dict[str, Any]:
    """`about`, if it was written by the format's `version`.

    Raises:
        InputError: it was not.
    """
    if about.get("version") != version:
        raise InputError(
            f"{path}: format version {about.get('version')}, this program reads {version}",
            "make it again with this version",
        )
    return about
