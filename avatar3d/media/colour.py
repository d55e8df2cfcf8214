# SPDX-License-Identifier: Apache-2.0
"""From the many ways a video stores colour to 8-bit R'G'B', and from high dynamic range to a screen's."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from avatar3d.media.orient import Box, Layout

PQ, HLG = 16, 18  # transfer characteristics, ITU-T H.273 table 3
PQ_AND_HLG = (PQ, HLG)
_FULL_RANGE = 2
_HD_HEIGHT = 720  # players take BT.709 from here on where the file does not say
_WHITE_NITS = 203.0  # diffuse white of HDR video, ITU-R BT.2408
_HLG_PEAK_NITS = 1000.0
# what is not resized shall equal, bit for bit, what every tool built on FFmpeg decodes
_CONVERTING = "bilinear"
_RESIZING = "area+accurate_rnd+full_chroma_int+full_chroma_inp"
_KNEE = 0.7  # of diffuse white: brighter light is compressed
_SCREEN_GAMMA = 2.2
_RGB709_FROM_RGB2020 = np.array(  # ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


class ToRGB:
    """Turns decoded pictures into [H,W,3] uint8 as shown, cut to `box` and area-resized to `size` on the way.

    Recordings of calls change their resolution on the way; every result has the size of the first.
    """

    def __init__(self, box: Box | None = None, size: tuple[int, int] | None = None) -> None:
        self.box = box  # left, top, right, bottom px of the picture as shown; None: all of it
        self.size = size  # width, height px of the result; None: the box's own
        self._first: Layout | None = None  # of the first picture: `box` and the result's size refer to it
        self._key: tuple[object, ...] = ()
        self._graph: Graph

    def __call__(self, picture: VideoFrame, layout: Layout) -> np.ndarray:
        """One picture; `picture` itself is left alone."""
        key = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range, layout)
        if key != self._key:
            self._graph, self._key = self._build(picture, layout), key
        self._graph.vpush(picture)
        rgb = self._graph.vpull().to_ndarray()
        if int(picture.color_trc) in PQ_AND_HLG:
            rgb = tone_map(rgb, int(picture.color_trc))
        return np.ascontiguousarray(layout.shown(rgb))

    def _build(self, picture: VideoFrame, layout: Layout) -> Graph:
        first = self._first = self._first or layout
        box = self.box or first.box
        width, height = self.size or (box[2] - box[0], box[3] - box[1])
        if layout.transposed:
            width, height = height, width
        left, top, right, bottom = layout.stored_box(_scaled(box, first, layout))
        hdr = int(picture.color_trc) in PQ_AND_HLG
        matrix = _matrix(picture)
        resizing = (width, height) != (right - left, bottom - top)
        graph = Graph()
        chain = [
            graph.add(
                "buffer",
                f"video_size={picture.width}x{picture.height}:pix_fmt={picture.format.name}:time_base=1/1000"
                f":colorspace={int(picture.colorspace)}:range={_range(picture)}",
            ),
            graph.add("crop", f"{right - left}:{bottom - top}:{left}:{top}:exact=1"),
            graph.add(
                "scale", f"{width}:{height}:in_color_matrix={matrix}:flags={_RESIZING if resizing else _CONVERTING}"
            ),
            graph.add("format", "rgb48le" if hdr else "rgb24"),
            graph.add("buffersink"),
        ]
        for upper, lower in pairwise(chain):
            upper.link_to(lower)
        graph.configure()
        return graph


def _scaled(box: Box, of: Layout, to: Layout) -> Box:
    """The box of one layout's picture in a picture of another size."""
    across, down = to.width / of.width, to.height / of.height
    left, top, right, bottom = box
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def _matrix(picture: VideoFrame) -> str:
    named = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
    if int(picture.color_trc) in PQ_AND_HLG:
        return "bt2020"
    return named.get(int(picture.colorspace), "bt709" if picture.height >= _HD_HEIGHT else "bt601")


def _range(picture: VideoFrame) -> int:
    if picture.format.name.startswith("yuvj"):
        return _FULL_RANGE
    return int(picture.color_range)


def tone_map(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """HDR R'G'B' in BT.2020 primaries to a screen's R'G'B'.

    Light up to the knee stays as it is, brighter light rolls off towards the screen's white; the ratio of the three
    channels, and so the hue, is kept.

    Args:
        rgb: [H,W,3] uint16, full range.
        transfer: PQ (SMPTE ST 2084) or HLG (ARIB STD-B67).

    Returns:
        [H,W,3] uint8.
    """
    light = _linear_light(transfer)[rgb]
    if transfer == HLG:  # the system gamma of a 1000-nit display, ITU-R BT.2100 note 5f
        luma = np.maximum(light @ _LUMA_2020, 1e-6)
        light *= (_HLG_PEAK_NITS / _WHITE_NITS * luma**0.2)[..., None]
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    over = np.maximum(brightest - _KNEE, 0)
    rolled = np.where(over > 0, _KNEE + (1 - _KNEE) * (1 - np.exp(-over / (1 - _KNEE))), brightest)
    screen = (light * (rolled / brightest)) @ _RGB709_FROM_RGB2020.T
    return (np.clip(screen, 0, 1) ** (1 / _SCREEN_GAMMA) * 255 + 0.5).astype(np.uint8)


@cache
def _linear_light(transfer: int) -> np.ndarray:
    """[65536] float32: PQ as display light over diffuse white, HLG as scene light 0..1."""
    signal = np.linspace(0, 1, 65536)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = signal ** (1 / m2)
        nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / _WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
