# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own, as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatar3d.errors import InputError


def opened(file: Path, remedy: str) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        InputError: onnxruntime is not installed, or the file cannot be read, which `remedy` tells how to mend.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("onnxruntime is not installed", "pip install onnxruntime") from error
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors share no other base
        raise InputError(f"{file}: cannot be read as ONNX ({str(error)[:120]})", remedy) from error
