# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loading import forget
from scenes import cloud

from avatar3d.ops import _native
from avatar3d.ops.splat import splat_reference


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package folder without libraries."""
    monkeypatch.setattr(_native, "_FOLDER", tmp_path)
    monkeypatch.delenv("AVATAR3D_ISA", raising=False)
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


def test_without_libraries_the_reference_draws_and_says_so(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = cloud(20, 16, 16)
    with caplog.at_level(logging.WARNING):
        first, _ = scene.draw("auto"), scene.draw("auto")
    truth = splat_reference(*scene.tensors(), scene.K, scene.width, scene.height)
    assert all(torch.equal(a, b) for a, b in zip(first, truth, strict=True))
    assert [record.message.count("was not built") for record in caplog.records] == [1]
    assert _native.available() == []
    assert _native.threads() == 1


def test_without_libraries_native_refuses_by_name(elsewhere: Path) -> None:
    with pytest.raises(RuntimeError, match=r"splat has no native kernel here: libavatar3d_portable.so was not built"):
        cloud(20, 16, 16).draw("native")


def test_a_broken_library_is_a_reason_not_a_crash(elsewhere: Path) -> None:
    (elsewhere / "_lib").mkdir()
    (elsewhere / "_lib" / "libavatar3d_portable.so").write_bytes(b"not a library")
    assert "cannot be loaded" in _native.why_not()


def test_an_old_interface_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(_native.__file__).parent.parent / "_lib"
    if not (source / "libavatar3d_portable.so").is_file():
        pytest.skip("no libraries were built")
    shutil.copytree(source, elsewhere / "_lib")
    monkeypatch.setattr(_native, "ABI", _native.ABI + 1)
    assert f"has interface {_native.ABI - 1}, this package {_native.ABI}" in _native.why_not()


def test_an_unknown_instruction_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR3D_ISA", "mmx")
    forget()
    assert "mmx is none of avx512, avx2, portable" in _native.why_not()
    monkeypatch.undo()
    forget()


def test_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match="path of splat"):
        cloud(1, 4, 4).draw("fastest")


def test_threads_are_those_the_process_may_use(kernels: None) -> None:
    assert _native.threads() == _native.usable_cores()


def test_a_forked_child_draws(kernels: None) -> None:
    """The child has the pool's memory but none of its threads."""
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
from scenes import cloud
from avatar3d.ops import _native
_native.set_threads(3)
scene = cloud(500, 128, 128)
before = scene.draw("native")[0]
child = os.fork()
if not child:
    same = all((scene.draw("native")[0] == before).all() for _ in range(20))
    os._exit(0 if same and _native.threads() == 3 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], timeout=60, check=False)
    assert done.returncode == 0


def test_memory_does_not_grow(kernels: None) -> None:
    scene = cloud(2000, 160, 160).trainable()

    def steps(count: int) -> int:
        for _ in range(count):
            torch.autograd.grad(sum(p.sum() for p in scene.draw("native")), scene.tensors())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    warm = steps(10)
    assert steps(50) - warm < 30 * 1024  # KiB; a step keeps 1.5 MiB for its backward pass
