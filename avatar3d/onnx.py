# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own, as ONNX files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from avatar3d.errors import InputError


def opened(file: Path, remedy: str) -> Any:
    """An onnxruntime session on the CPU, told to report nothing to its maker.

    Raises:
        InputError: onnxruntime is not installed, or the file cannot be read, which `remedy` tells how to mend.
    """
    # 1.29 and later report usage to their maker, from the import on, unless they are told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("onnxruntime is not installed", "pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()  # what the variable does not reach: Windows, and an import before ours
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors share no other base
        raise InputError(f"{file}: cannot be read as ONNX ({str(error)[:120]})", remedy) from error
