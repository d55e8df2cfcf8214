# SPDX-License-Identifier: Apache-2.0
"""SyncNet (Chung and Zisserman, Out of Time, 2016): embeddings of five frames of a face, and of the sound meanwhile.

The layers are those that the published weights, `syncnet_v2.model`, were trained for.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.fft import dct
from torch import Tensor, nn

from avatar3d.errors import InputError
from avatar3d.records import SAMPLE_RATE

FRAMES = 5
SIDE_PX = 224
_COLUMNS = 20  # of cepstra, 10 ms each, beside five frames; four a frame
_COLUMNS_PER_FRAME = 4
_GREY = 110
_ABOVE, _AROUND = 1.0, 0.4  # the crop reaches from 1 half face above its middle to 1.8 below, and 1.4 to both sides
_CEPSTRA, _FILTERS, _FFT = 13, 26, 512
_WINDOW, _HOP = 400, 160  # samples
_LIFTER, _EMPHASIS = 22, 0.97


class SyncNet:
    """The two towers, on the CPU."""

    def __init__(self, file: Path) -> None:
        """
        Args:
            file: `syncnet_v2.model`, a state dict.

        Raises:
            InputError: it is something else.
        """
        self.parts = _towers()
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.parts.load_state_dict(state)
        except (RuntimeError, OSError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise InputError(
                f"{file}: not SyncNet's weights ({reason})", "take syncnet_v2.model as its authors offer it"
            ) from error
        self.parts.eval()

    @torch.no_grad()
    def seen(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """[1024] of five crops [224,224,3] uint8 RGB, one after the other."""
        blue_first = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).float()
        return self._through("netcnnlip", "netfclip", blue_first.permute(3, 0, 1, 2)[None])

    @torch.no_grad()
    def heard(self, cepstra: np.ndarray, frame: int) -> np.ndarray:
        """[1024] of the sound beside the five frames from `frame` on; cepstra [13,C] of the whole sound."""
        first = frame * _COLUMNS_PER_FRAME
        columns = torch.from_numpy(cepstra[:, first : first + _COLUMNS]).float()
        return self._through("netcnnaud", "netfcaud", columns[None, None])

    def _through(self, trunk: str, head: str, given: Tensor) -> np.ndarray:
        found: np.ndarray = self.parts[head](self.parts[trunk](given).flatten(1))[0].numpy()
        return found


def moments(cepstra: np.ndarray, frames: int) -> int:
    """At how many frames both the picture and the sound go on for five frames."""
    return max(min(frames - FRAMES + 1, (cepstra.shape[1] - _COLUMNS) // _COLUMNS_PER_FRAME + 1), 0)


def cepstra(samples: np.ndarray) -> np.ndarray:
    """Mel cepstra [13,C] of sound at 16 kHz, -1..1: 25 ms every 10 ms, the first one the window's log energy.

    As SyncNet was trained: 16-bit samples, emphasis .97, no window function, 26 triangles up to 8 kHz on whole bins,
    orthonormal DCT-II, lifter 22.
    """
    loud = np.asarray(samples, np.float64) * 32768
    risen = np.append(loud[:1], loud[1:] - _EMPHASIS * loud[:-1])
    count = 1 + max(int(np.ceil((len(risen) - _WINDOW) / _HOP)), 0)
    risen = np.pad(risen, (0, max((count - 1) * _HOP + _WINDOW - len(risen), 0)))
    rows = np.lib.stride_tricks.sliding_window_view(risen, _WINDOW)[::_HOP][:count]
    power = np.square(np.abs(np.fft.rfft(rows, _FFT))) / _FFT
    tiny = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _triangles().T, tiny))
    found = dct(bands, type=2, norm="ortho", axis=1)[:, :_CEPSTRA]
    found *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_CEPSTRA) / _LIFTER)
    found[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return found.T


def crop(picture: np.ndarray, box: tuple[float, float, float]) -> np.ndarray:
    """A face as SyncNet looks at it [224,224,3] uint8; grey beyond the picture.

    Args:
        picture: [H,W,3] uint8.
        box: the face's middle x and y, and half its longer side, px.
    """
    x, y, half = box
    reach = half * (1 + _AROUND)
    margin = int(np.ceil(4 * half)) + 1
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=_GREY)
    left, top = margin + x - reach, margin + y - half * _ABOVE
    corners = (left, top, left + 2 * reach, top + 2 * reach)
    image = Image.fromarray(padded).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=corners)
    return np.asarray(image)


def _triangles() -> np.ndarray:
    """[26,257] filters whose corners lie on whole bins of the spectrum."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, _FILTERS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * hz / SAMPLE_RATE)
    bins = np.arange(_FFT // 2 + 1)
    left, middle, right = (corners[at : at + _FILTERS, None] for at in range(3))
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    found: np.ndarray = np.where((bins >= left) & (bins < middle), rising, 0.0)
    return np.where((bins >= middle) & (bins < right), falling, found)


def _towers() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "netcnnaud": nn.Sequential(
                *_flat(1, 64, 3, 1),
                nn.MaxPool2d(1, 1),
                *_flat(64, 192, 3, 1),
                nn.MaxPool2d(3, (1, 2)),
                *_flat(192, 384, 3, 1),
                *_flat(384, 256, 3, 1),
                *_flat(256, 256, 3, 1),
                nn.MaxPool2d(3, 2),
                *_flat(256, 512, (5, 4), 0),
            ),
            "netfcaud": _end(),
            "netfclip": _end(),
            "netcnnlip": nn.Sequential(
                *_deep(3, 96, (5, 7, 7), (1, 2, 2), 0),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                *_deep(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
                *_deep(256, 256, (1, 3, 3), 1, (0, 1, 1)),
                *_deep(256, 256, (1, 3, 3), 1, (0, 1, 1)),
                *_deep(256, 256, (1, 3, 3), 1, (0, 1, 1)),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                *_deep(256, 512, (1, 6, 6), 1, 0),
            ),
        }
    )


def _flat(before: int, after: int, side: int | tuple[int, int], padding: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, side, padding=padding), nn.BatchNorm2d(after), nn.ReLU()


def _deep(
    before: int,
    after: int,
    side: tuple[int, int, int],
    stride: int | tuple[int, int, int],
    padding: int | tuple[int, int, int],
) -> tuple[nn.Module, ...]:
    return nn.Conv3d(before, after, side, stride, padding), nn.BatchNorm3d(after), nn.ReLU()


def _end() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))
