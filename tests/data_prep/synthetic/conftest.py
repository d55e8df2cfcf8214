# SPDX-License-Identifier: Apache-2.0
"""One made-up person and one film, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar3d.data_prep.synthetic import Film, Person, film
from avatar3d.face.canonical import CanonicalFace, load_canonical


@pytest.fixture(scope="session")
def canonical(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


@pytest.fixture(scope="session")
def person(canonical: CanonicalFace) -> Person:
    return Person(canonical, seed=0)


@pytest.fixture(scope="session")
def footage(person: Person) -> Film:
    """20 s at 192 px, one sample per pixel."""
    return film(person, 20.0, 192, seed=0, samples_per_pixel_side=1)
