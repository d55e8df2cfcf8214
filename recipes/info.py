# SPDX-License-Identifier: Apache-2.0
"""`avatar3d info`: what a work folder or an avatar holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avatar3d.errors import InputError
from avatar3d.recipes._text import sections, size_mb
from avatar3d.store import AVATAR_SUFFIX, AvatarFolder, Work, load_arrays, load_capture, read_json

METRICS = "metrics.json"


def info(path: Path) -> dict[str, Any]:
    """What stands at `path`, as JSON values; `kind` is "avatar" or "work".

    Raises:
        InputError: neither an avatar nor a work folder, or damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder", "name a work folder or a folder NAME.avatar")
    if AvatarFolder(path).manifest.is_file() or path.suffix == AVATAR_SUFFIX:
        return avatar(path)
    if Work(path).capture_json.is_file():
        return work(Work(path))
    raise InputError(
        f"{path}: neither a work folder (capture.json) nor an avatar (avatar.json)",
        "name the folder that `avatar3d create` wrote",
    )


def avatar(path: Path) -> dict[str, Any]:
    """What an avatar folder holds; every file is checked against its recorded hash."""
    folder = AvatarFolder(path)
    manifest = folder.read_manifest()
    head = folder.read_head()
    clip = folder.read_clip()
    return {
        "kind": "avatar",
        "path": str(path),
        "version": manifest["version"],
        "program": manifest.get("program"),
        "head": manifest.get("head", {}).get("part"),
        "voice": (manifest.get("voice") or {}).get("part"),
        "gaussians": len(head["means"]) if "means" in head else None,
        "clip_s": round(len(clip) / clip.fps, 2),
        "mb": size_mb(path),
        "files_mb": {name: size_mb(path / name) for name in manifest.get("files", {})},
        "about": manifest.get("about", {}),
    }


def work(folder: Work) -> dict[str, Any]:
    """What a work folder holds: capture, track, runs and avatars."""
    about = read_json(folder.capture_json)
    load_capture(folder)  # a damaged folder is told as such here, not by the next training
    return {
        "kind": "work",
        "path": str(folder.path),
        "mb": size_mb(folder.path),
        "capture": about,
        "track": track(folder) if folder.track_file.is_file() else None,
        "masks": folder.masks.is_file(),
        "report": str(folder.report) if folder.report.is_file() else None,
        "runs": dict(runs(folder)),
        "avatars": sorted(str(path) for path in folder.path.glob(f"*{AVATAR_SUFFIX}")),
    }


def track(folder: Work) -> dict[str, Any]:
    """The figures of a track."""
    arrays, about = load_arrays(folder.track_file)
    return {
        "face_model": about.get("face_model", "personal"),
        "components": arrays["basis"].shape[-1],
        "focal_px": round(float(arrays["K"][0, 0]), 1),
        "focal_observable": about["focal_observable"],
        "fitted_frames": about["fitted_frames"],
        "left_out_frames": int((arrays["confidence"] <= 0).sum()),
    }


def runs(folder: Work) -> Iterator[tuple[str, Any]]:
    """Each training run with its figures, where it was evaluated."""
    for run in sorted(path for path in (folder.path / "runs").glob("*") if path.is_dir()):
        yield run.name, read_json(run / METRICS) if (run / METRICS).is_file() else None


def report(figures: Mapping[str, Any]) -> str:
    """The figures of `info` as text."""
    return _avatar_text(figures) if figures["kind"] == "avatar" else _work_text(figures)


def _avatar_text(figures: Mapping[str, Any]) -> str:
    about = figures["about"]
    head = [
        ("format version", figures["version"]),
        ("made by avatar3d", figures["program"]),
        ("head", figures["head"] + ("" if figures["gaussians"] is None else f", {figures['gaussians']} Gaussians")),
        ("voice", figures["voice"]),
        ("clip of own motion s", figures["clip_s"]),
        ("size MB", figures["mb"]),
    ]
    return sections(
        {
            f"{figures['path']}: an avatar, undamaged": head,
            "about": [(key, value) for key, value in about.items() if not isinstance(value, Mapping)],
            **{key: list(value.items()) for key, value in about.items() if isinstance(value, Mapping)},
            "files, MB": figures["files_mb"].items(),
        }
    )


def _work_text(figures: Mapping[str, Any]) -> str:
    return sections(
        {
            f"{figures['path']}: a work folder, {figures['mb']} MB": [
                ("report", figures["report"]),
                ("masks", figures["masks"]),
                ("runs", list(figures["runs"])),
                ("avatars", figures["avatars"]),
            ],
            "capture": figures["capture"].items(),
            "track": (figures["track"] or {}).items(),
        }
    )
