# SPDX-License-Identifier: Apache-2.0
"""Who is asked where the person is: geometry and movement alone, or a network too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avatar3d.choose import choose
from avatar3d.data_prep.masks import Network
from avatar3d.errors import InputError
from avatar3d.store import file_hash

GEOMETRY = "geometry"
_ROOM = "avatar3d.data_prep.segment"


@dataclass(frozen=True)
class MaskChoice:
    """A network by name, with the file that the user holds."""

    name: str = GEOMETRY
    file: Path | None = None

    @contextmanager
    def loaded(self) -> Iterator[Network | None]:
        """The network while it is needed; None for geometry alone.

        Raises:
            InputError: no such network, or its file is missing or another.
        """
        if self.name == GEOMETRY:
            if self.file is not None:
                raise InputError(f"{self.file}: geometry needs no file", "name a network with --masks")
            yield None
            return
        part = choose(_ROOM, self.name)(self.file)
        try:
            yield Network(part, f"{self.name} {file_hash(self.file) if self.file else ''}")
        finally:
            part.close()
