# SPDX-License-Identifier: Apache-2.0
"""How any head is trained on pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitSettings:
    """How a head is trained; times are fractions of the budget."""

    coarse_until: float = 0.4  # until then large pictures are drawn at half size
    coarse_from_px: int = 384  # height from which a picture is large
    relocate_from: float = 0.06  # Gaussians that draw nothing move to where the picture asks for more
    relocate_until: float = 0.7
    relocate_every: float = 0.03
    renew_every: int = 0  # steps between two changes of the Gaussians' number (density control); 0: it stays
    renew_from: int = 1000  # steps
    renew_until: float = 0.6
    most: int = 60_000  # Gaussians, where their number changes,
    pixels_each: int = 4  # and no more than one for so many pixels of the picture
    patch_share: float = 0.5  # of the height, the side of what the terms of perception and sharpness see at a time
    patch_every: int = 2  # steps
    refine_from: float = 0.05  # corrections of the poses begin
    hidden_from: float = 0.04  # what hardly any frame shows looks like its neighbours
    hidden_every: int = 10  # steps; 0: never
    hidden_fade: float = 0.1  # of a shell's opacity (logit) at a time, where a core stands behind it
    hidden_look: int = 3  # after so many of these, it is measured anew who is hidden
    aside_every: int = 8  # steps: the head is also seen from a side that no frame shows
    skin_u: float = 0.012  # how far before or behind the tracked surface the face's own Gaussians may lie
    skin_every: int = 20  # steps between two looks at that; 0: never
    retrack_at: float = 0.1  # the motion is measured again, where there is a way to: even a blurred head knows better
