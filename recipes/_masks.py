# SPDX-License-Identifier: Apache-2.0
"""Who is asked where the person is: geometry and movement alone, or a network too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avatar3d import assets
from avatar3d.choose import choose
from avatar3d.data_prep.masks import Network
from avatar3d.errors import InputError
from avatar3d.records import Watch, unwatched
from avatar3d.store import file_hash

AUTO, GEOMETRY, SELFIE = "auto", "geometry", "selfie"
_ROOM = "avatar3d.data_prep.segment"


@dataclass(frozen=True)
class MaskChoice:
    """A network by name, with the file that the user holds; the selfie network's file is fetched where there is none.

    "auto" is the selfie network where it can be had, and geometry alone where it cannot.
    """

    name: str = AUTO
    file: Path | None = None

    @contextmanager
    def loaded(self, watch: Watch = unwatched) -> Iterator[Network | None]:
        """The network while it is needed; None for geometry alone.

        Raises:
            InputError: no such network, or its file is missing or another.
        """
        name, file = self._found(watch)
        if name == GEOMETRY:
            yield None
            return
        part = choose(_ROOM, name)(file)
        try:
            yield Network(part, f"{name} {file_hash(file) if file else ''}")
        finally:
            part.close()

    def _found(self, watch: Watch) -> tuple[str, Path | None]:
        if self.name in (AUTO, GEOMETRY) and self.file is not None:
            raise InputError(f"{self.file}: {self.name} masks take no file", "name a network with --masks")
        if self.name == SELFIE and self.file is None:
            return SELFIE, assets.find(assets.SELFIE, watch)
        if self.name != AUTO:
            return self.name, self.file
        try:
            return SELFIE, assets.find(assets.SELFIE, watch)
        except InputError:
            return GEOMETRY, None
