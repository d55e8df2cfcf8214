# SPDX-License-Identifier: Apache-2.0
"""Parts by name: `choose("avatar3d.render", "native")` is the one class that avatar3d/render/native.py offers."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Sequence
from importlib.abc import InspectLoader
from typing import Any

from avatar3d.errors import InputError


def names(room: str) -> list[str]:
    """The parts of a room, for example `names("avatar3d.audio")`: its files whose `__all__` names exactly one class."""
    package = importlib.import_module(room)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if _is_part(f"{room}.{module.name}"))


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


def _is_part(dotted: str) -> bool:
    # read, not imported: a part may load half a library, and only one of a room is wanted
    spec = importlib.util.find_spec(dotted)
    source = spec.loader.get_source(dotted) if spec and isinstance(spec.loader, InspectLoader) else None
    return bool(re.search(r'^__all__ = \["\w+"\]$', source or "", re.MULTILINE))


def _exists(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:
        return False
