# SPDX-License-Identifier: Apache-2.0
"""Ways to fetch a file: from an https address, or with pip or npm, which know the user's own index and proxy."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

_TIMEOUT_S = 10.0
_PIP_LIMIT_S = 900.0
_NPM_LIMIT_S = 120.0
_CHUNK = 1 << 18

# pip asks a source archive for its metadata, which runs code of the archive's choosing. This stands in for the builder
# that it would run, and answers from what is known already.
_METADATA_ONLY = """\
from pathlib import Path
from types import SimpleNamespace


def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "{stem}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: {project}\\nVersion: {version}\\n")
    return info.name


__legacy__ = SimpleNamespace(prepare_metadata_for_build_wheel=prepare_metadata_for_build_wheel)
"""


class Unavailable(Exception):
    """A source did not give the file; says why."""


def download(url: str, target: Path, size: int, report: Callable[[float], None]) -> None:
    """Writes what an https address holds; gives up soon where there is no network.

    Args:
        size: bytes expected; more than that is not read.
        report: told the share done, 0..1.

    Raises:
        Unavailable: no answer, an error, or another size.
    """
    if not url.startswith("https://"):
        raise Unavailable(f"{url} is not https")
    got = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
            while got <= size and (chunk := answer.read(_CHUNK)):
                file.write(chunk)
                got += len(chunk)
                report(min(got / size, 1.0))
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{url.split('/')[2]}: {getattr(error, 'reason', error)}") from error
    if got != size:
        raise Unavailable(f"{url} holds another file ({got} bytes read, {size} expected)")


def pip_download(project: str, version: str, sha256: str, folder: Path, *, is_source: bool) -> Path:
    """Has pip fetch one archive into `folder`, by its hash, without dependencies and without running any code of it.

    Raises:
        Unavailable: there is no pip, no network, or no such archive.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{project}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    got = folder / "archives"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--retries=1", "--timeout=15", "--dest", str(got), "-r", str(wanted)]
    environment = dict(os.environ)
    if is_source:
        _write_builder(folder / "builder", project, version)
        command += ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
        environment |= {"PYTHONPATH": str(folder / "builder"), "PYTHONDONTWRITEBYTECODE": "1"}
    else:
        command += ["--only-binary=:all:"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_PIP_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip took longer than {_PIP_LIMIT_S:.0f} s") from error
    archives = list(got.glob("*")) if got.is_dir() else []
    if done.returncode or len(archives) != 1:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
        raise Unavailable(f"pip: {complaints[-1].strip() if complaints else f'exit code {done.returncode}'}")
    return archives[0]


def npm_download(project: str, version: str, sha256: str, folder: Path) -> Path:
    """Has npm fetch one archive into `folder`, without dependencies and without running any code of it.

    Raises:
        Unavailable: there is no npm, no network, or no archive with this hash.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    command = [npm, "pack", f"{project}@{version}", "--ignore-scripts", "--silent", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            [*command, "--pack-destination", str(folder)], cwd=folder, capture_output=True, text=True, check=False,
            timeout=_NPM_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"npm took longer than {_NPM_LIMIT_S:.0f} s") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise Unavailable(f"npm: exit code {done.returncode}")
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != sha256:
        raise Unavailable(f"npm: {project} {version} has another sha256")
    return archives[0]


def _write_builder(folder: Path, project: str, version: str) -> None:
    package = folder / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    stem = f"{project.replace('-', '_')}-{version}"
    text = _METADATA_ONLY.format(stem=stem, project=project, version=version)
    (package / "build_meta.py").write_text(text, encoding="utf-8")
