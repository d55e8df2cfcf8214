# SPDX-License-Identifier: Apache-2.0
"""What tests of the player see: the canvas, screenshots for people, and what was asked of the web server."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"


@dataclass
class Site:
    """A folder behind a web server, and the paths that were asked of it."""

    address: str
    asked: list[str] = field(default_factory=list)


def picture(page: Any) -> np.ndarray:
    """What the canvas shows [H,W,4] 0..1."""
    page.evaluate("() => avatarPlayer.draw()")
    data = page.evaluate("() => document.getElementById('picture').toDataURL()")
    with PillowImage.open(io.BytesIO(base64.b64decode(data.split(",")[1]))) as image:
        return np.asarray(image.convert("RGBA"), np.float64) / 255


def shot(page: Any, name: str) -> None:
    """Keeps a screenshot under build/, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def slide(page: Any, name: str, value: float) -> None:
    """Moves a slider as a hand does."""
    page.evaluate(
        """([name, value]) => {
          const slider = document.getElementById(name);
          slider.value = value;
          slider.dispatchEvent(new Event("input"));
        }""",
        [name, value],
    )


def message(page: Any) -> str:
    return str(page.inner_text("#message"))
