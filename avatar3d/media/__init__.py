# SPDX-License-Identifier: Apache-2.0
"""Video and sound in and out, through PyAV: no subprocess, no whole file in memory."""

from avatar3d.media.info import Timing, VideoInfo, probe, timing
from avatar3d.media.pictures import Pictures, frames
from avatar3d.media.samples import sound
from avatar3d.media.write import VideoWriter, write_gif

__all__ = ["Pictures", "Timing", "VideoInfo", "VideoWriter", "frames", "probe", "sound", "timing", "write_gif"]
