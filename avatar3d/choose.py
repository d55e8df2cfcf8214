# SPDX-License-Identifier: Apache-2.0
"""Parts by name: `choose("avatar3d.render", "native")` is the one class that avatar3d/render/native.py offers."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from typing import Any

from avatar3d.errors import InputError


def names(room: str) -> list[str]:
    """The parts of a room, for example `names("avatar3d.audio")`; files with a leading underscore are not parts."""
    package = importlib.import_module(room)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def choose(room: str, name: str) -> Any:
    """The class that the part `name` of `room` offers; a dotted name reaches a module of the user's own.

    Raises:
        InputError: there is no such part.
    """
    dotted = name if "." in name else f"{room}.{name}"
    if "." not in name and name not in names(room):
        raise InputError(f"{room} has no part named {name!r}", f"choose one of: {', '.join(names(room))}")
    if "." in name and not _exists(dotted):
        raise InputError(f"no module named {name!r} can be imported", "check its spelling and that it is installed")
    module = importlib.import_module(dotted)
    offered: Sequence[str] = getattr(module, "__all__", [])
    if len(offered) != 1:
        raise InputError(f"{dotted} is not a part", "name exactly one class in its __all__")
    return getattr(module, offered[0])


def _exists(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:
        return False
