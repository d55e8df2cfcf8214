# SPDX-License-Identifier: Apache-2.0
"""The device that a user names, or one line on why it cannot be had."""

from __future__ import annotations

import torch

from avatar3d import ranks
from avatar3d.errors import InputError


def device_named(name: str) -> str:
    """`name` as torch understands it: "cpu", or a GPU; of several processes each has its own.

    Args:
        name: cpu, cuda or cuda:N.

    Raises:
        InputError: no such device.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or name == "cpu:":
        raise InputError(f"--device {name}: no such kind of device", "give cpu, cuda or cuda:N")
    if kind == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError(
            f"--device {name}: torch {torch.__version__} sees no CUDA device",
            "leave --device out, or install torch for CUDA on a machine with an NVIDIA GPU",
        )
    wanted = int(number) if number else ranks.local()
    if wanted >= torch.cuda.device_count():
        raise InputError(f"--device {name}: GPU {wanted} of {torch.cuda.device_count()}", "they are counted from 0")
    return f"cuda:{wanted}"
