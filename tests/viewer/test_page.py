# SPDX-License-Identifier: Apache-2.0
"""The talking page: whole in one file, safe against its own texts, and the same picture as the trainer's."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from avatar3d.avatar.linear import LinearHead
from avatar3d.geometry import intrinsics, normalise
from avatar3d.records import Camera, Sound
from avatar3d.render.reference import Reference
from avatar3d.viewer.page import LinearClip, bundle, write_page

SIZE, COUNT, CODES, FRAMES = 128, 1500, 6, 5
CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run", "--disable-quic", "--virtual-time-budget=8000", "--dump-dom"]  # fmt: skip


@pytest.fixture(scope="module")
def clip() -> LinearClip:
    g = torch.Generator().manual_seed(0)
    means = normalise(torch.randn(COUNT, 3, generator=g)) * torch.tensor([0.8, 1.1, 0.9])
    channels = torch.tensor([0.02] * 3 + [0.2] * 3 + [0.05] * 3)
    turn = torch.linspace(-0.15, 0.15, FRAMES)
    heads = torch.stack([0 * turn, turn.cos(), 0 * turn, turn.sin(), 0 * turn, 0 * turn, 0 * turn + 9], 1)
    return LinearClip(
        means=means,
        quats=torch.randn(COUNT, 4, generator=g),
        scales=(torch.randn(COUNT, 3, generator=g) * 0.4 - 3.0).exp(),
        opacities=torch.rand(COUNT, generator=g) * 0.9 + 0.05,
        colours=(0.5 + 0.4 * torch.sin(5 * means)).clamp(0, 1),
        skin=torch.sigmoid(6 * means[:, 1] + 3),
        tables=(torch.randn(CODES, COUNT, 9, generator=g) * channels).half().float(),
        codes=torch.randn(FRAMES, CODES, generator=g),
        heads=heads,
        bodies=heads[:1].repeat(FRAMES, 1),
        fps=25.0,
    )


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera(intrinsics(2.4 * SIZE, SIZE, SIZE), torch.eye(4), SIZE, SIZE)


@pytest.fixture(scope="module")
def room() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), (40, 120, 200), np.uint8)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, clip: LinearClip, camera: Camera, room: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("page") / "head.html"
    sound = Sound(np.zeros(3200, np.float32), 16_000)
    write_page(path, clip, camera, room, sound, "me </script><b>", canvas_px=SIZE)
    return path


def test_modules_become_one_script() -> None:
    script = bundle()
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    assert "class Player" in script and "class SplatPainter" in script


def test_nothing_is_asked_of_any_server(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"https?://", re.sub(r"data:[\w/+;=,-]*", "", text))
    assert "default-src 'none'" in text


def test_texts_cannot_break_out_of_the_page(page: Path) -> None:
    text = page.read_text()
    assert "</script><b>" not in text
    assert text.count("<script") == text.count("</script>") == 3


def test_the_payload_holds_the_clip(page: Path, clip: LinearClip) -> None:
    text = page.read_text()
    manifest = json.loads(re.search(r'id="manifest">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    payload = gzip.decompress(base64.b64decode(re.search(r'id="payload">(.*?)</script>', text, re.DOTALL)[1]))  # type: ignore[index]
    entry = {entry["name"]: entry for entry in manifest["arrays"]}["codes"]
    codes = np.frombuffer(payload, "<f4", entry["length"], entry["offset"]).reshape(FRAMES, CODES)
    np.testing.assert_array_equal(codes, clip.codes)
    assert all(entry["offset"] % 4 == 0 for entry in manifest["arrays"])


def expected(clip: LinearClip, camera: Camera, room: np.ndarray, frame: int) -> np.ndarray:
    """[H,W,3] by the trainer's reference renderer."""
    head = LinearHead(
        {
            "means": clip.means, "quats": clip.quats, "log_scales": clip.scales.log(),
            "opacity_logits": clip.opacities.logit(), "colours": clip.colours, "skin_logits": clip.skin.logit(),
            "group": torch.zeros(COUNT, dtype=torch.uint8), "tables": clip.tables, "code_scale": torch.ones(CODES),
        },
        camera.width, camera.height,
    )  # fmt: skip
    gaussians = head.pose(torch.cat([clip.codes[frame], normalise(clip.heads[frame, :4]), clip.heads[frame, 4:],
                                     normalise(clip.bodies[frame, :4]), clip.bodies[frame, 4:]]))  # fmt: skip
    return Reference()(gaussians, camera).over(torch.from_numpy(room) / 255).numpy()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to draw the page")
@pytest.mark.parametrize("frame", [0, FRAMES - 1])
def test_the_browser_draws_the_trainers_picture(
    page: Path, tmp_path: Path, clip: LinearClip, camera: Camera, room: np.ndarray, frame: int
) -> None:
    ask = f"""<script type="module">
      const ready = () => window.avatarPlayer ? read() : setTimeout(ready, 20);
      const read = () => {{
        avatarPlayer.draw({(frame + 0.5) / 25});
        const shot = document.getElementById("picture").toDataURL();
        document.body.insertAdjacentHTML("beforeend", `<pre id="shot">${{shot}}</pre>`);
      }};
      ready();
    </script></body>"""
    test_page = tmp_path / "asked.html"
    test_page.write_text(page.read_text().replace("</body>", ask))
    run = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", test_page.as_uri()]
    done = subprocess.run([str(word) for word in run], capture_output=True, text=True, timeout=120, check=True)
    shot = re.search(r'<pre id="shot">data:image/png;base64,([^<]*)', done.stdout)
    assert shot, done.stdout[-2000:]
    with PillowImage.open(io.BytesIO(base64.b64decode(shot[1]))) as image:
        drawn = np.asarray(image.convert("RGB"), np.float64) / 255
    error = np.mean((drawn - expected(clip, camera, room, frame)) ** 2)
    assert -10 * np.log10(error) > 45
