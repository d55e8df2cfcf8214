# SPDX-License-Identifier: Apache-2.0
"""Which face the tracker works with: the person's own movement, or a face model that others made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatar3d.choose import choose, names
from avatar3d.errors import InputError
from avatar3d.records import FaceModel, Watch
from avatar3d.store import file_hash

PERSONAL = "personal"
_ROOM = "avatar3d.face"


@dataclass(frozen=True)
class FaceChoice:
    """A face model by name; `file` where the user holds it."""

    name: str = PERSONAL
    file: Path | None = None

    def key(self) -> tuple[str, ...]:
        """What a track's key says of the choice; nothing for the personal basis.

        Raises:
            InputError: no such model, or no such file.
        """
        if self.name == PERSONAL:
            if self.file is not None:
                raise InputError(f"{self.file}: the personal basis needs no file", _offer())
            return ()
        if "." not in self.name and self.name not in names(_ROOM):
            raise InputError(f"no face model is named {self.name!r}", _offer())
        if self.file is None:
            return (self.name,)
        if not self.file.exists():
            raise InputError(f"{self.file}: no such file", "name the face model's file or folder with --face-file")
        # a model's file may need others beside it; of those the names and sizes must do
        folder = self.file if self.file.is_dir() else self.file.parent
        beside = sorted(f"{path.name} {path.stat().st_size}" for path in folder.iterdir() if path.is_file())
        return (self.name, file_hash(self.file) if self.file.is_file() else "", *beside)

    def check(self, watch: Watch, thoroughly: bool = True) -> None:
        """Refuses what cannot be tracked with, before any other work.

        Args:
            thoroughly: the model is read as well.

        Raises:
            InputError: as `key` and `model` do.
        """
        self.key()
        if thoroughly:
            self.model(watch)

    def model(self, watch: Watch) -> FaceModel | None:
        """The model; None for the personal basis.

        Raises:
            InputError: it is not to be had, or not in this file.
        """
        if self.name == PERSONAL:
            return None
        model: FaceModel = choose(_ROOM, self.name)()(self.file, watch)
        return model


PERSON = FaceChoice()


def _offer() -> str:
    return f"choose --face {PERSONAL}, {', '.join(names(_ROOM))}, or the dotted name of a module of your own"
