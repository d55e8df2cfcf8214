# SPDX-License-Identifier: Apache-2.0
"""Which renderer draws a head."""

from __future__ import annotations

from typing import Any

from avatar3d.choose import choose
from avatar3d.contracts import Draw

USUAL = "native"


def renderer_of(head: Any, named: str | None = None) -> Draw:
    """The renderer `named`, a part of avatar3d.render or a dotted name; None: the one that a head, or its class, says.

    Raises:
        InputError: there is no such renderer.
    """
    draw: Draw = choose("avatar3d.render", getattr(head, "renderer", USUAL) if named is None else named)()
    return draw
