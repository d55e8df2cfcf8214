# SPDX-License-Identifier: Apache-2.0
"""The nouns of the house: frozen records that pass from one stage to the next.

One row of a record is one frame, so lists cannot drift apart. Host-side nouns (Sound, Capture, Landmarks, Motion,
Track) hold numpy arrays; drawing nouns (Camera, Gaussians, Image) hold torch tensors, since gradients run through them.

Conventions
- Camera axes are OpenCV's: x right, y down, z forward. Pixel centres lie at +0.5. The world is the axes of the camera
  that filmed the capture, so that camera's cam_from_world is the identity.
- Head space is MediaPipe's canonical face: x to the image's right (the person's left), y up, z out of the face.
  One unit u is 10 cm. world_from_head turns those axes into OpenCV's.
- Quaternions are wxyz. Right and left are the person's. Times are frames, or seconds where a name says `_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

FPS = 25.0
SAMPLE_RATE = 16_000
# every renderer adds this to a Gaussian's variance on the picture, so that none slips between pixels; the customary 0.3
# takes a fifth of a picture's finest contrast away for good, however long is trained
BLUR_PX2 = 0.1


@dataclass(frozen=True)
class Progress:
    """One message of a long piece of work to whoever watches it."""

    stage: str  # which work, for example "landmarks"
    done: float  # 0..1
    note: str = ""  # a short figure to show beside the bar


Watch = Callable[[Progress], None]


def unwatched(_: Progress) -> None:
    """A Watch for callers that do not look."""


@dataclass(frozen=True)
class Stage:
    """One stretch of a training schedule, as data (see `avatar3d.fit`)."""

    name: str
    until: float  # fraction of the budget at which it ends, 0..1
    weights: Mapping[str, float]  # of each loss term; terms that are not named are not asked for
    rates: Mapping[str, float] = field(default_factory=dict)  # factor on a group's learning rate; 1 where not named
    own: Mapping[str, float] = field(default_factory=dict)  # numbers that what is trained knows by name


@dataclass(frozen=True)
class Sound:
    """Mono audio."""

    samples: np.ndarray  # [S] float32, -1..1
    rate: int  # Hz

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def earlier(self, seconds: float) -> Sound:
        """The same length of sound with everything `seconds` earlier (later, if negative); silence fills the end."""
        shift = int(np.clip(round(seconds * self.rate), -len(self.samples), len(self.samples)))
        kept = self.samples[max(shift, 0) : len(self.samples) + min(shift, 0)]
        return Sound(np.pad(kept, (max(-shift, 0), max(shift, 0))), self.rate)


@dataclass(frozen=True)
class Heard:
    """What an audio feature has made of the newest piece of a sound that is still coming."""

    rows: np.ndarray  # [T,D] float32 at FPS
    loudness_db: np.ndarray  # [4*T] below full scale, of hops of 10 ms
    harmonicity: np.ndarray  # [4*T] 0..1, how voiced each hop is


@dataclass(frozen=True)
class TimedPhone:
    """One sound of speech and when it is heard."""

    symbol: str  # ARPAbet without stress, "SIL" for silence (`avatar3d.arpabet`)
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Landmarks:
    """What the face detector saw, frame by frame; rows of frames without a face are NaN."""

    points: np.ndarray  # [T,478,3] float32 px of the capture's frames (z in px too)
    scores: np.ndarray  # [T,52] float32 0..1, MediaPipe's blendshape order with `_neutral` first
    found: np.ndarray  # [T] bool


@dataclass(frozen=True)
class Capture:
    """A video cut to one square around the head, at a constant frame rate, with its sound."""

    frames: np.ndarray  # [T,H,W,3] uint8, memory-mapped
    sound: Sound | None  # 16 kHz; None where the video has no sound
    fps: float  # frames per second
    cuts: tuple[int, ...]  # frames at which a new shot begins; frame 0 is not listed
    source_hash: str  # sha256 of the video file
    masks: np.ndarray | None = None  # [T,H,W] uint8 alpha of the person, memory-mapped
    background: np.ndarray | None = None  # [H,W,3] uint8, the room without the person


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels."""

    K: Tensor  # [3,3] px
    cam_from_world: Tensor  # [4,4] rigid, u
    width: int  # px
    height: int  # px

    def shrunk(self, by: int) -> Camera:
        """The same view in pixels `by` times as large; what is no whole pixel of it at the edges is left out."""
        K = torch.cat([self.K[:2] / by, self.K[2:]])
        return Camera(K, self.cam_from_world, self.width // by, self.height // by)


@dataclass(frozen=True)
class KnownPoses:
    """A camera and the poses of a head that another tool measured, in that tool's own head space and unit."""

    K: Tensor  # [3,3] px of the capture's pictures; fx and fy may differ
    camera_from_head: np.ndarray  # [T,7] quaternion wxyz, translation; OpenCV camera axes; NaN = no pose


@dataclass(frozen=True)
class Motion:
    """What a face does over time: measured by the tracker, predicted from speech, or streamed from a phone."""

    expression: np.ndarray  # [T,K] float32 in `basis`, unit variance over the capture, 0 = mean face
    blink: np.ndarray  # [T,2] float32, right and left lid: 0 open .. 1 closed
    gaze: np.ndarray  # [T,4] float32, right (across, down), left: iris off the eye's centre in eye widths, minus median
    head: np.ndarray  # [T,7] float32 world_from_head: quaternion wxyz, translation u
    fps: float  # frames per second
    basis: str = "personal"  # the space of `expression`: "personal" or "arkit"
    body: np.ndarray | None = (
        None  # [T,7] float32 world_from_body, the usual head pose when at rest; None: not measured
    )

    def __len__(self) -> int:
        return len(self.expression)

    def __getitem__(self, rows: slice) -> Motion:
        """The same motion for a range of frames."""
        body = None if self.body is None else self.body[rows]
        face = self.expression[rows], self.blink[rows], self.gaze[rows]
        return Motion(*face, self.head[rows], self.fps, self.basis, body)


FAULTS = ("", "no face found", "another face", "face covered", "blurred", "picture repeated")


@dataclass(frozen=True)
class Track:
    """A person's rig and its motion through one capture."""

    camera: Camera  # the camera that filmed the capture
    neutral: np.ndarray  # [468,3] float32 u in head space, the mean face of the person
    basis: np.ndarray  # [468,3,K] float32 u per unit of expression
    motion: Motion
    landmarks: Landmarks
    confidence: np.ndarray  # [T] float32 0..1; 0 = leave this frame out
    fitted_frames: int  # neutral and basis were fitted on frames [0, fitted_frames); later ones are held out
    focal_observable: bool  # False: the head turned too little to measure the focal length, a usual one was taken
    arkit_map: np.ndarray  # [53,K] float32: expression = [52 scores, 1] @ arkit_map
    face_model: str = "personal"  # what the basis was made from: the person's own movement, or a face model's name
    fault: np.ndarray | None = None  # [T] uint8 positions in FAULTS: what is wrong with a frame; None: nobody looked


@dataclass(frozen=True)
class FaceModel:
    """How faces differ and move, measured on many people: neutral + identity @ i + expression @ e, in head space."""

    name: str  # of the part that read it
    neutral: np.ndarray  # [V,3] float32 u, the mean face
    triangles: np.ndarray  # [F,3] int64, of the skin, counter-clockwise seen from outside
    identity: np.ndarray  # [V,3,I] float32 u per standard deviation among people
    expression: np.ndarray  # [V,3,E] float32 u per unit of a coefficient
    expression_names: tuple[str, ...]  # E; ARKit's where the model has them
    bounds: np.ndarray  # [2,E] float32 lowest and highest coefficient, infinite where there is none
    spread: np.ndarray  # [E] float32 how far a coefficient usually is from 0
    landmarks: np.ndarray  # [N] int64 which of MediaPipe's 468 vertices are known on it
    corners: np.ndarray  # [N,3] int64 the vertices of the triangle in which each lies
    shares: np.ndarray  # [N,3] float32 its barycentric coordinates there


@dataclass(frozen=True)
class Gaussians:
    """A set of 3D Gaussians in world space."""

    means: Tensor  # [N,3] u
    quats: Tensor  # [N,4] wxyz, need not be normalised
    log_scales: Tensor  # [N,3] log u
    opacity_logits: Tensor  # [N]
    colours: Tensor  # [N,3] linear in the picture's own 0..1, or [N,(L+1)^2,3] spherical harmonics
    group: Tensor  # [N] uint8: 0 head surface, 1 shell (hair, ears, neck), 2 mouth interior, 3 torso, 4 what is within

    @property
    def points(self) -> Tensor:
        """[N,3] u: where they are."""
        return self.means


@dataclass(frozen=True)
class Radiance:
    """One frame of a radiance field in a cube that lies in the world, before a flat picture of the rest of the person.

    The field is told apart in density and colour: only what is seen needs a colour.
    """

    cube_from_world: Tensor  # [4,4] similarity; the cube is 0..1
    occupied: Tensor  # [R,R,R] bool by the cells' x, y, z: elsewhere there is nothing
    step_u: float  # between samples of a ray
    most: int  # samples of a ray
    density: Callable[[Tensor], tuple[Tensor, Tensor]]  # points [S,3] in the cube -> per u [S], features [S,F]
    colour: Callable[[Tensor], Tensor]  # features [S,F] -> [S,3] 0..1
    # origin [3], directions [N,3] in the world -> rgb [N,3] times alpha, alpha [N], depth [N] u of the flat picture
    behind: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    points: Tensor  # [P,3] u: where the tracked face is
    # a picture [4,h,w] of rgb times alpha, and alpha -> [4,2h,2w]: rays are cast for a picture of half the size; None:
    # for each pixel
    enlarge: Callable[[Tensor], Tensor] | None = None


Posed = Gaussians | Radiance  # one frame of a head, in world space: what a renderer draws


@dataclass(frozen=True)
class AtRest:
    """A head whose frames are linear in their codes, before any moves it: for renderers that pose it themselves.

    A frame is a row [T+14] of codes, then world_from_head and world_from_body [7]; the rule is `avatar3d.ops.rig`'s.
    """

    means: Tensor  # [N,3] u in head space
    quats: Tensor  # [N,4] wxyz
    scales: Tensor  # [N,3] u
    opacities: Tensor  # [N] 0..1
    colours: Tensor  # [N,3]
    skin_logits: Tensor  # [N] share of the head's frame
    tables: Tensor  # [T,M,9] per code: position u, rotation vector, colour; Gaussians from M on never change


@dataclass(frozen=True)
class Image:
    """A drawn picture, not yet laid over a background."""

    rgb: Tensor  # [H,W,3] 0..1, multiplied by alpha
    alpha: Tensor  # [H,W] 0..1
    depth: Tensor  # [H,W] u, weighted mean of what was hit times alpha

    def over(self, background: Tensor) -> Tensor:
        """This picture laid over `background` [H,W,3] or [3]; returns [H,W,3]."""
        return self.rgb + (1 - self.alpha[..., None]) * background


def held_out_start(frames: int) -> int:
    """The first frame of the held-out part: the last 1/11 of a capture is never trained on."""
    return frames * 10 // 11


def frame_count(sound: Sound) -> int:
    """How many video frames at FPS a sound lasts."""
    return round(sound.seconds * FPS)
