# SPDX-License-Identifier: Apache-2.0
"""One HTML file in which a head talks in 3D: opens from disk, asks no server for anything.

The page holds the rig (neutral Gaussians, linear tables, skin weights), the codes and poses of one clip and its sound.
It deforms and draws on the viewer's own GPU (WebGL2), so the head can be turned while it speaks.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor

from avatar3d.records import Camera, Sound
from avatar3d.store import replacing

# in the order of their imports: each may use what stands above it
_MODULES = ("unpack.js", "rig.js", "shaders.js", "splats.js", "player.js")
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


@dataclass(frozen=True)
class LinearClip:
    """A linear head and one clip of it, as plain tensors.

    A splat's centre is means + codes @ tables[..., 0:3], its turn and colour likewise (3:6 rotation vector, 6:9 rgb);
    then it moves with the head by `skin` and with the body by 1 - skin.
    """

    means: Tensor  # [N,3] u, head space
    quats: Tensor  # [N,4] wxyz
    scales: Tensor  # [N,3] u
    opacities: Tensor  # [N] 0..1
    colours: Tensor  # [N,3] 0..1
    skin: Tensor  # [N] 0..1, 1 = head
    tables: Tensor  # [K,N,9]
    codes: Tensor  # [T,K]
    heads: Tensor  # [T,7] world_from_head
    bodies: Tensor  # [T,7] world_from_body
    fps: float


def write_page(
    path: Path,
    clip: LinearClip,
    camera: Camera,
    background: np.ndarray,
    sound: Sound | None,
    title: str,
    canvas_px: int = 720,
) -> None:
    """Writes the page.

    Args:
        camera: the camera that filmed the capture; the page starts from its view.
        background: [H,W,3] uint8, the room as that camera saw it.
        sound: what is heard; its clock leads. None plays the clip in silence.
        title: shown under the picture.
        canvas_px: width of the drawing in the page's own pixels; the page scales it to fit the window.
    """
    arrays, entries = _pack(clip)
    height = round(canvas_px * camera.height / camera.width)
    manifest = {
        "title": title,
        "count": len(clip.means),
        "components": clip.codes.shape[1],
        "fps": clip.fps,
        "pivot": clip.heads[:, 4:].mean(0).tolist(),
        "canvas": [canvas_px, height],
        "camera": {
            "focal": [float(camera.K[0, 0]), float(camera.K[1, 1])],
            "middle": [float(camera.K[0, 2]), float(camera.K[1, 2])],
            "size": [camera.width, camera.height],
        },
        "room": _data_url("image/png", _png(background)),
        "sound": None if sound is None else _data_url("audio/wav", _wav(sound)),
        "arrays": entries,
    }
    # "<" would let a title or a path end the script element early
    values = {
        "title": html.escape(title),
        "style": _web("page.css"),
        "manifest": json.dumps(manifest).replace("<", "\\u003c"),
        "payload": base64.b64encode(gzip.compress(arrays, 6)).decode("ascii"),
        "script": bundle(),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _web("page.html"))
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def bundle() -> str:
    """The player's modules as one script: their imports name one another, so order alone resolves them."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _web(name))) for name in _MODULES)


def _pack(clip: LinearClip) -> tuple[bytes, list[dict[str, object]]]:
    named: Mapping[str, tuple[Tensor, str]] = {
        "means": (clip.means, "f32"),
        "skin": (clip.skin, "f32"),
        "quats": (clip.quats, "f32"),
        "scales": (clip.scales, "f32"),
        "opacities": (clip.opacities, "f32"),
        "colours": (clip.colours, "f32"),
        "codes": (clip.codes, "f32"),
        "heads": (clip.heads, "f32"),
        "bodies": (clip.bodies, "f32"),
        "tables": (clip.tables, "u16"),
    }
    data, entries = io.BytesIO(), []
    for name, (tensor, kind) in named.items():
        array = np.ascontiguousarray(tensor.detach().cpu().numpy(), "<f2" if kind == "u16" else "<f4")
        entries.append({"name": name, "kind": kind, "offset": data.tell(), "length": array.size})
        data.write(array.tobytes())
    return data.getvalue(), entries


def _web(name: str) -> str:
    return (resources.files("avatar3d.viewer") / "web" / name).read_text(encoding="utf-8")


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _png(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(rgb).save(file, "PNG", optimize=True)
    return file.getvalue()


def _wav(sound: Sound) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(sound.samples, -1, 1), sound.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
