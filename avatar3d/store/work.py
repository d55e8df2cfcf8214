# SPDX-License-Identifier: Apache-2.0
"""The work folder: what one video became."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatar3d.store.files import read_json, write_json

WORK_VERSION = 1


@dataclass(frozen=True)
class Work:
    """A work folder. `capture` and `track` load what `save_capture` and `save_track` wrote."""

    path: Path

    @property
    def capture_json(self) -> Path:
        return self.path / "capture.json"

    @property
    def frames(self) -> Path:
        return self.path / "frames.npy"

    @property
    def masks(self) -> Path:
        return self.path / "masks.npy"

    @property
    def background(self) -> Path:
        return self.path / "background.png"

    @property
    def audio(self) -> Path:
        return self.path / "audio.wav"

    @property
    def sync(self) -> Path:
        """How late the sound was found to be; `load_capture` moves it by that."""
        return self.path / "sync.json"

    @property
    def landmarks(self) -> Path:
        return self.path / "landmarks.safetensors"

    @property
    def track_file(self) -> Path:
        return self.path / "track.safetensors"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def costs(self) -> Path:
        """Seconds per stage and peak memory, as they were when each stage last ran."""
        return self.path / "costs.json"

    def run(self, name: str) -> Path:
        """The folder of one training run: config.json, checkpoint.safetensors, events, metrics.json."""
        return self.path / "runs" / name

    def motion(self, name: str) -> Path:
        """The motion that a training measured anew, through the head it was training."""
        return self.run(name) / "motion.safetensors"

    def key(self, stage: str) -> str | None:
        """The key that `stage` ("capture", "masks", "track", ...) was last finished with, or None."""
        path = self.path / "stages.json"
        return read_json(path).get(stage) if path.exists() else None

    def finish(self, stage: str, key: str) -> None:
        """Notes that `stage` is done; call it after its files are in place."""
        path = self.path / "stages.json"
        write_json(path, (read_json(path) if path.exists() else {}) | {stage: key})

    def forget(self) -> dict[str, str]:
        """Forgets every finished stage, so that each runs again; the files stay until replaced. Returns the keys."""
        path = self.path / "stages.json"
        keys: dict[str, str] = read_json(path) if path.exists() else {}
        path.unlink(missing_ok=True)
        return keys

    def forget_training(self) -> None:
        """Removes the checkpoints of every run, so that training begins anew; a run's stage bears its folder's name."""
        runs = [path for path in (self.path / "runs").glob("*") if path.is_dir()]
        for run in runs:
            for checkpoint in run.glob("checkpoint*"):
                checkpoint.unlink()
        kept = self.forget()
        for run in runs:
            kept.pop(run.name, None)
        write_json(self.path / "stages.json", kept)
