# SPDX-License-Identifier: Apache-2.0
"""The verb that opens a window."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from avatar3d.cli.options._shared import Verb

if TYPE_CHECKING:
    from avatar3d.cli.output import Output


@dataclass(frozen=True, kw_only=True)
class View(Verb):
    """Look at a work folder or an avatar in a browser, or let an avatar answer a microphone or a camera.

    Without --live every head of the folder is shown from any side, beside its film, moved by sliders, with the curves
    of its training, also while that runs.
    """

    path: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """A work folder, also one that is being trained, or a folder NAME.avatar."""
    live: bool = False
    """The avatar answers the browser's microphone, a sound file that is dropped on it, or the camera."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """The address to listen on. Beyond this machine (0.0.0.0) the printed address holds a token, without which nobody
    gets in; it is sent unencrypted."""
    port: Annotated[int | None, arg(metavar="N")] = None
    """The port to listen on (default: the first free one from 8080 on)."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import view

        def say(text: str) -> None:
            out.say(text)
            sys.stdout.flush()  # whoever reads it through a pipe waits for the address too

        show = view.view_live if self.live else view.view
        figures = show(self.path, view.ViewSettings(self.host, self.port), say)
        out.say(f"closed after {figures['open_s']:.0f} s and {figures['pictures']} pictures")
        return figures
