# SPDX-License-Identifier: Apache-2.0
"""glTF: its file is built as the format says, another program reads it, and it looks the same."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from some_splats import COUNT, METRES, apart_db, linear, some

from avatar3d.splat_files.glb import Glb

PREFIX = "KHR_gaussian_splatting:"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Glb().write(tmp_path / "a.glb", some(), "a head")
    return tmp_path / "a.glb"


def test_chunks_add_up(file: Path) -> None:
    data = file.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4s4I", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), 0x4E4F534A)
    assert size % 4 == 0
    told = json.loads(data[20 : 20 + size])
    binary, kind = struct.unpack_from("<2I", data, 20 + size)
    assert kind == 0x004E4942 and binary == told["buffers"][0]["byteLength"] == len(data) - 28 - size
    assert told["asset"]["version"] == "2.0" and told["asset"]["extras"]["about"] == "a head"


def test_another_program_reads_the_same_picture(file: Path) -> None:
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    found = pygltflib.GLTF2().load_binary(str(file))
    assert found.extensionsUsed == ["KHR_gaussian_splatting"]
    (primitive,) = found.meshes[0].primitives
    assert primitive.mode == 0
    assert primitive.extensions == {
        "KHR_gaussian_splatting": {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    }
    column = {name: values(found, index) for name, index in vars(primitive.attributes).items() if index is not None}
    back = linear(
        column["POSITION"] / METRES,
        column[PREFIX + "ROTATION"],
        column[PREFIX + "SCALE"] / METRES,
        column[PREFIX + "OPACITY"][:, 0],
        column[PREFIX + "SH_DEGREE_0_COEF_0"],
    )
    assert apart_db(back, some()) > 70
    torch.testing.assert_close(back.means, some().means, atol=1e-6, rtol=1e-5)
    assert float((column[PREFIX + "ROTATION"].norm(dim=1) - 1).abs().max()) < 1e-6
    # points for those who know no splats: linear light, so darker numbers than the picture's
    light, alpha = column["COLOR_0"].split([3, 1], 1)
    srgb = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)
    torch.testing.assert_close(srgb, some().colours, atol=1e-4, rtol=0)
    torch.testing.assert_close(alpha[:, 0], some().opacity_logits.sigmoid(), atol=1e-6, rtol=0)


def values(found: object, index: int) -> torch.Tensor:
    """An accessor's float32 numbers [N,C], after its bounds have been looked at."""
    accessor = found.accessors[index]  # type: ignore[attr-defined]
    view = found.bufferViews[accessor.bufferView]  # type: ignore[attr-defined]
    assert accessor.componentType == 5126 and accessor.count == COUNT
    data = found.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]  # type: ignore[attr-defined]
    rows = np.frombuffer(data, "<f4").reshape(COUNT, -1)
    if accessor.min:
        np.testing.assert_array_equal(np.float32(accessor.min), rows.min(0))
        np.testing.assert_array_equal(np.float32(accessor.max), rows.max(0))
    return torch.from_numpy(rows.copy())
