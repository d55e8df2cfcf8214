# SPDX-License-Identifier: Apache-2.0
"""The verbs of the house. A stage is a function from one noun to the next; nothing else crosses a border.

clip.mp4 --capture--> Capture --track--> Track --fit--> Avatar --pose--> Posed --draw--> Image
speech.wav --listen--> features --speak--> Motion --^

Posed is Gaussians or a radiance field; a renderer draws one of the two, and a head says which renderer draws it.

A part is one file in its room, `avatar3d/<room>/<name>.py`, whose `__all__` names exactly one class; the file's name
is the part's name on the command line (see `avatar3d.choose`). Saved parts are a `config` (JSON values) and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from avatar3d.records import (
    AtRest,
    Camera,
    Capture,
    FaceModel,
    Gaussians,
    Heard,
    Image,
    Motion,
    Posed,
    Sound,
    Stage,
    TimedPhone,
    Track,
    Watch,
    unwatched,
)  # fmt: skip


@runtime_checkable
class Saved(Protocol):
    """A part that can be written to an avatar folder and read back without pickle."""

    def config(self) -> dict[str, Any]:
        """Settings as JSON values."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, by name."""

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The part that `config()` and `tensors()` came from."""


@runtime_checkable
class ReadFace(Protocol):
    """A face model that others made, read from its own file."""

    def __call__(self, file: Path | None = None, watch: Watch = unwatched) -> FaceModel:
        """The model in head space; without `file`, a free model is fetched and a licensed one refused by name."""


@runtime_checkable
class Draw(Protocol):
    """A renderer: one frame of a head and a camera in, a picture out, differentiable in both.

    Raises InputError for a frame of the kind that it does not draw.

    One that says `batches = True` also takes Gaussians of several frames, whose means, quats and colours have B in
    front, for an Image with B in front of everything.
    """

    def __call__(self, posed: Any, camera: Camera) -> Image: ...


@runtime_checkable
class DrawPixels(Draw, Protocol):
    """A renderer that also draws some pixels of a picture: what trains on more than it could draw whole."""

    def pixels(self, posed: Posed, camera: Camera, at: Tensor, jitter: Tensor | None = None) -> Image:
        """A radiance field at points [N,2] px of the picture, as an Image with N in place of H,W: without what is
        behind the field, and not enlarged. Differentiable.

        Args:
            jitter: [N] 0..1, see `avatar3d.ops.march`.
        """


@runtime_checkable
class Head(Saved, Protocol):
    """A drivable head. `encode` once per motion, `pose` once per frame.

    One may say by which part of avatar3d.render it is drawn, `renderer`; `native` draws those that do not.
    """

    @property
    def camera(self) -> Camera:
        """The camera that filmed the capture."""

    @property
    def background(self) -> Tensor:
        """[H,W,3] 0..1, the room as seen by that camera."""

    def encode(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        """One row per frame of everything `pose` needs: [T,P]; nothing is carried over `cuts`, where shots begin."""

    def pose(self, code: Tensor) -> Posed:
        """One frame, code [P], in world space."""


Perceptual = Callable[[Tensor, Tensor], Tensor]  # pictures [3,h,w] 0..1, drawn and real -> a scalar


class Fittable(Protocol):
    """Something that can be trained."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Adam's groups: `name`, `params` (a list), `lr`, and any other option of torch.optim.Adam."""

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Unweighted scalar terms of one step, means over its pictures; at least those that `stage.weights` names.

        Args:
            seeds: one per picture that this process draws; what is random about a picture follows from its seed
                alone (`avatar3d.seeds.seeded`).
        """

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        """Whatever follows an update: clamps, hand-made updates, relocation (which edits the optimiser's state).

        Its random numbers are the same in every process; gradients have been averaged over all of them, and what a
        hand-made update needs of the others is gathered with `avatar3d.ranks`.
        """

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that changes while training, by name; the optimiser's own state is kept by `fit`."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back, in place, what `snapshot` gave."""

    def pictures(self) -> dict[str, Tensor]:
        """Pictures [3,H,W] 0..1 to look at, by name."""

    def evaluate(self) -> dict[str, float]:
        """Figures on frames that are not trained on."""


class HeadLearner(Fittable, Protocol):
    """A head in training: `avatar3d.fit.fit(learner, ...)`, then `trained()`."""

    def trained(self) -> Head:
        """The head as it stands."""


@runtime_checkable
class WriteSplats(Protocol):
    """A file format of other programs for Gaussians that stand still.

    What is handed over has x to the right, y up, z to whoever looks (head space is so), in u; formats with axes and a
    unit of their own convert.
    """

    suffixes: ClassVar[tuple[str, ...]]  # of its files; the first is the usual one

    def write(self, path: Path, gaussians: Gaussians, about: str = "") -> None:
        """Writes Gaussians in their order; `about` goes in as text where the format has a place for it.

        Raises:
            InputError: the colours are spherical harmonics, or a package is missing.
        """


@runtime_checkable
class ReadSplats(WriteSplats, Protocol):
    """One that can be taken back in."""

    def read(self, path: Path) -> Gaussians:
        """The Gaussians of a file that any program has written, in its order, as `write` takes them; group is 0.

        Raises:
            InputError: another kind of file, a damaged or an empty one, or colours that change with the view.
        """


@dataclass(frozen=True)
class Tools:
    """What a head is trained with."""

    draw: Draw
    perceptual: Perceptual | None = None
    retrack: Callable[[Head], Motion] | None = None  # a better motion of the capture, found with a half-trained head
    device: str = "cpu"  # where tensors are made; `perceptual` is there already


@runtime_checkable
class TrainableHead(Head, Protocol):
    """A head that `avatar3d train` can train on a tracked capture."""

    stages: ClassVar[Sequence[Stage]]  # what counts when, where the training's settings say nothing else

    @classmethod
    def learner(
        cls, capture: Capture, track: Track, triangles: np.ndarray, tools: Tools, settings: Any = None, seed: int = 0
    ) -> HeadLearner:
        """An untrained head, ready for its first step.

        Args:
            triangles: [F,3] of the canonical face, whose vertices `track.neutral` holds.
            settings: the head's own frozen dataclass; None: its defaults.
            seed: of the starting points; `fit` has its own.
        """


@runtime_checkable
class Bodied(Protocol):
    """A head that stands on a body with a pose of its own."""

    def body(self, motion: Motion, cuts: Sequence[int] = ()) -> np.ndarray:
        """world_from_body [T,7] float32: the motion's own, and where it brings none, as the head's pose suggests."""


@runtime_checkable
class Film(Draw, Protocol):
    """A renderer that also makes finished pictures, [H,W,3] uint8 over a background [3,H,W]: to look at only."""

    def film(self, posed: Posed, camera: Camera, background: Tensor) -> Tensor:
        """The picture of one frame of a head."""

    def film_posed(self, rest: AtRest, code: Tensor, camera: Camera, background: Tensor) -> Tensor:
        """The picture of a linear head at a row of its codes."""


@runtime_checkable
class Linear(Protocol):
    """A head that renderers can pose themselves."""

    def at_rest(self) -> AtRest:
        """Itself before any frame; `encode`'s rows are what AtRest says."""


@runtime_checkable
class Listen(Protocol):
    """An audio feature: rows at the motion's frame rate."""

    width: int  # numbers per row
    look_ahead_s: float  # how much later sound a row may depend on

    def __call__(self, sound: Sound) -> np.ndarray:
        """Features [T,width] float32 at FPS, T = round(sound.seconds * FPS); any sample rate is accepted."""


class Hearing(Protocol):
    """An audio feature at work on a sound that is still coming; what it tells does not depend on the chunks."""

    def push(self, samples: np.ndarray) -> Heard:
        """What these samples [S] float32 -1..1, of any number, complete."""

    def close(self) -> Heard:
        """What was still to come, if the sound ends here; nothing may be pushed any more."""


@runtime_checkable
class ListenLive(Listen, Protocol):
    """An audio feature that can also follow a sound: `Hearing`, joined, is what it makes of the whole."""

    def live(self, rate: int) -> Hearing:
        """Begins to hear a sound of `rate` Hz."""


@runtime_checkable
class Described(Protocol):
    """An audio feature that other programs can compute too."""

    def described(self) -> dict[str, Any]:
        """What they must know of it, as JSON values: at least `feature`, its name among them."""


@runtime_checkable
class Spell(Listen, Protocol):
    """An audio feature that can also say which phones it has heard, and when."""

    def phones(self, sound: Sound) -> list[TimedPhone]:
        """The phones of a sound of any rate, in order and without gaps, silence included."""


@runtime_checkable
class Speak(Saved, Protocol):
    """A motion model: sound in, motion of the face out (head pose is laid over afterwards)."""

    listen: Listen | None  # the audio feature it was trained on; None for a model that takes sound as it is

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        """Motion with T = round(sound.seconds * FPS) rows."""

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """As Saved; `listen` is the part of the same name that it was trained on."""


class Speaking(Protocol):
    """A motion model at work on a sound that is still coming; what it says does not depend on the chunks."""

    look_ahead_s: float  # a frame is final when so much sound has come after its end

    def push(self, samples: np.ndarray) -> Motion:
        """The frames that these samples [S] float32 -1..1, of any number, complete."""

    def close(self) -> Motion:
        """The frames that were still to come, if the sound ends here; nothing may be pushed any more."""


@runtime_checkable
class SpeakLive(Speak, Protocol):
    """A motion model that can also follow a sound: `Speaking`, joined, is what it makes of the whole."""

    def live(self, rate: int, seed: int = 0) -> Speaking:
        """Begins to say a sound of `rate` Hz."""


@runtime_checkable
class Portable(Protocol):
    """A motion model that programs without torch can run, such as a page."""

    def onnx(self) -> bytes | None:
        """An ONNX file from rows of its audio feature to expressions; None where they cannot compute the feature."""
