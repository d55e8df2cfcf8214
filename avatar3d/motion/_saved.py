# SPDX-License-Identifier: Apache-2.0
"""What voices share when they go to disk and come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avatar3d.contracts import Listen
from avatar3d.errors import InputError


def heard_by(features: int, listen: Listen | None) -> Listen:
    """The audio feature `listen`, if it has as many numbers a row as a voice was trained on.

    Raises:
        InputError: it has not, or there is none.
    """
    if listen is None or listen.width != features:
        offered = "none" if listen is None else f"one of {listen.width} numbers"
        raise InputError(
            f"this voice hears an audio feature of {features} numbers a row, and was given {offered}",
            "choose the audio feature that it was trained with",
        )
    return listen


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def above(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by names that begin with `prefix`: what `under` takes back."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def with_tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that have been JSON, which knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
