# SPDX-License-Identifier: Apache-2.0
"""`avatar3d assets`: the model files that others made, with licence and state; or one of them, fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avatar3d import assets
from avatar3d.recipes._text import sections
from avatar3d.records import Watch, unwatched

_STATES = {
    "folder": "in the folder of AVATAR3D_ASSETS, sha256 right",
    "cache": "in the cache, sha256 right",
    "wrong hash": "there is a file of this name with another sha256, which is not used",
    "absent": "not on this machine",
}


def listed() -> dict[str, Any]:
    """Every asset's state by name; nothing is fetched."""
    return {"cache": str(assets.cache_folder()), "assets": {name: _state(name) for name in assets.names()}}


def fetched(name: str, watch: Watch = unwatched) -> dict[str, Any]:
    """The state of one asset, after it was fetched where it was not there.

    Raises:
        InputError: no such asset, or it cannot be had.
    """
    path = assets.find(name, watch)
    found = _state(name) | {"path": str(path)}
    return {"cache": str(assets.cache_folder()), "assets": {name: found}}


def report(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    blocks = {
        name: [
            ("state", _STATES[state["where"]]),
            ("path", state["path"] or (f"fetch it: avatar3d assets {name}" if state["offered"] else None)),
            ("needed", "yes" if state["required"] else "no, but better with it"),
            ("use", state["use"]),
            ("licence", state["licence"]),
            ("size MB", round(state["bytes"] / 1e6, 1)),
            ("sha256", state["sha256"]),
        ]
        for name, state in figures["assets"].items()
    }
    return sections(blocks) + f"\n\nthe cache is {figures['cache']}"


def _state(name: str) -> dict[str, Any]:
    return {**assets.state(name), "licence": assets.licence(name).removeprefix(f"{name}: ")}
