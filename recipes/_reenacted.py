# SPDX-License-Identifier: Apache-2.0
"""What somebody else does in a video, measured and put on an avatar's own face and neck."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.ndimage import convolve1d

from avatar3d import assets, media
from avatar3d.data_prep.capture import CaptureSettings, capture
from avatar3d.data_prep.track import track
from avatar3d.face.canonical import load_canonical
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._mouth import Mouth
from avatar3d.motion._polish import locally_linear
from avatar3d.records import Motion, Track, Watch
from avatar3d.store import Work

_SIZE_PX = 256  # of the pictures in which the other face is looked for: more shows landmarks nothing
_SHUT_SHARE = 0.05  # of the frames, as the avatar's own mouth is measured
_STEADY = np.array([0.25, 0.5, 0.25])  # scores are found picture by picture


def followed(video: Path, watch: Watch) -> Track:
    """The track of another person's video; its pictures are thrown away.

    Raises:
        InputError: the video cannot be used.
    """
    media.probe(video)
    model = assets.find("face_landmarker.task", watch)
    with TemporaryDirectory(prefix="avatar3d-") as folder:
        taken, landmarks = capture(video, Work(Path(folder)), model, CaptureSettings(_SIZE_PX), watch)
        return track(taken, landmarks, load_canonical(model), watch=watch)


def on_this_face(other: Track, arkit_map: np.ndarray, mouth: Mouth, clip: Motion) -> Motion:
    """What another person did, as this one would.

    Each face is told by how far it is from the one with its lips shut, in ARKit's scores there and by what they mean
    here (`arkit_map` [53,K]); then it is drawn towards faces that this person was seen to make, and kept to their
    range. Lids and eyes are the other's; so are poses, which `avatar3d.talk.driven` puts on this neck.
    """
    scores = steady_scores(other)
    opening = LipSpace.of(other).aperture(torch.from_numpy(other.motion.expression)).numpy()
    trusted = other.confidence > 0
    shut = trusted & (opening <= np.quantile(opening[trusted], _SHUT_SHARE))
    numbers = arkit_map.shape[1]
    expression = np.tile(mouth.shut, (len(scores), 1))
    expression[:, :numbers] += (scores - np.median(scores[shut], axis=0)) @ arkit_map[:-1]
    expression = locally_linear(expression, clip.expression).clip(mouth.low, mouth.high)
    return replace(
        other.motion,
        expression=expression.astype(np.float32),
        blink=other.motion.blink.clip(0, 1),
        body=None,
    )


def steady_scores(other: Track) -> np.ndarray:
    """Scores [T,52] of every frame; those of frames without a face lie between their neighbours'."""
    scores, frames = other.landmarks.scores, np.arange(len(other.confidence))
    known = frames[(other.confidence > 0) & np.isfinite(scores).all(1)]
    bridged = np.stack([np.interp(frames, known, column) for column in scores[known].T], 1)
    steady: np.ndarray = convolve1d(bridged, _STEADY, axis=0, mode="nearest")
    return steady
