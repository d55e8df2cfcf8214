# SPDX-License-Identifier: Apache-2.0
"""Folder mapping and native kernels; everything else about the package is said in pyproject.toml.

One shared library per instruction set is built from the same sources, linked to nothing but the C++ runtime, and put
into avatar3d/_lib; one more for CUDA where there is nvcc and either an NVIDIA device or AVATAR3D_CUDA=1 (0: never).
torch is neither needed nor touched. A failed build is a warning: the torch twins do the work then, and
`avatar3d doctor` says so.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent.resolve()
FOLDERS = {
    "avatar3d": "avatar3d",
    "avatar3d.data_prep": "data_prep",
    "avatar3d.viewer": "viewer",
    "avatar3d.recipes": "recipes",
}
# no -ffast-math: NaN must stay recognisable, and sums must not depend on the compiler's mood
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-fno-math-errno"]
FLAGS += ["-fno-trapping-math", "-ffp-contract=fast", "-Wall", "-Wextra"]
# GCC 12 takes its own AVX-512 headers for uninitialised, and speaks of an ABI that no function here crosses
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-psabi"]
ISA_FLAGS = {"portable": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
# machine code for Ampere and Hopper, and the portable form, which drivers translate for later cards
CUDA_FLAGS = ["-std=c++17", "-O3", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
CUDA_FLAGS += ["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=[sm_90,compute_90]", "--threads=0"]


def packages() -> list[str]:
    """Every package of the four folders under its imported name."""
    found = []
    for name, folder in FOLDERS.items():
        if (ROOT / folder / "__init__.py").is_file():
            found += [name, *(f"{name}.{sub}" for sub in find_packages(str(ROOT / folder)))]
    return found


def source_hash() -> str:
    """Names the state of csrc; `avatar3d.ops._native` computes the same to find stale libraries."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.suffix in {".h", ".cpp", ".cu"}:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def isas() -> list[str]:
    """The instruction sets to build for on this kind of machine."""
    return list(ISA_FLAGS) if platform.machine().lower() in {"x86_64", "amd64"} else ["portable"]


def wants_cuda() -> bool:
    """Whether to build for CUDA: AVATAR3D_CUDA says so, or nvcc and an NVIDIA device are here."""
    wish = os.environ.get("AVATAR3D_CUDA", "")
    if wish not in {"", "0", "1"}:
        raise SystemExit(f"AVATAR3D_CUDA={wish}: expected 0 (never), 1 (always) or nothing")
    device = Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()
    return wish == "1" or (not wish and device and bool(nvcc()))


def nvcc() -> str | None:
    """CUDA's compiler: AVATAR3D_NVCC, that of CUDA_HOME, or the one on the path."""
    home = os.environ.get("CUDA_HOME")
    return os.environ.get("AVATAR3D_NVCC") or shutil.which("nvcc", path=f"{home}/bin" if home else None)


class BuildKernels(build_ext):
    """Compiles each library with one call of a compiler; they are loaded with ctypes, not imported."""

    def get_ext_filename(self, fullname: str) -> str:
        *folders, name = fullname.split(".")
        return str(Path(*folders, f"lib{name}.so"))

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return list(ext.export_symbols)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # a running process may have the old file mapped: write beside it and rename over it
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        stamp = f'-DAVATAR3D_SOURCE_HASH="{source_hash()}"'
        compiler = _compiler(ext.name.rsplit("_", 1)[1])
        command = [*compiler, stamp, "-I", str(ROOT / "csrc"), "-o", str(fresh), *ext.sources]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CompileError(f"cannot run the compiler {compiler[0]}: {error}") from error
        if done.returncode:
            fresh.unlink(missing_ok=True)
            raise CompileError(f"{compiler[0]} could not build {target.name}:\n{done.stderr}")
        if done.stderr:
            sys.stderr.write(done.stderr)
        fresh.replace(target)

    def copy_extensions_to_source(self) -> None:
        """Editable installs: like the parent, but by rename, so that a running process keeps its old file."""
        for ext in self.extensions:
            built = Path(self.build_lib, self.get_ext_filename(ext.name))
            if built.is_file():
                (ROOT / "avatar3d" / "_lib").mkdir(exist_ok=True)
                fresh = ROOT / self.get_ext_filename(f"{ext.name}_{os.getpid()}")
                shutil.copy2(built, fresh)
                fresh.replace(ROOT / self.get_ext_filename(ext.name))


def _compiler(isa: str) -> list[str]:
    """The compiler's command and flags for one library."""
    if isa == "cuda":
        found = nvcc()
        if not found:
            raise CompileError("AVATAR3D_CUDA=1, but no nvcc found (set CUDA_HOME or AVATAR3D_NVCC, or install it)")
        return [found, *CUDA_FLAGS]
    found = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if not found:
        raise CompileError("no C++ compiler found (set CXX, or install g++ or clang++)")
    return [*found.split(), *FLAGS, *ISA_FLAGS[isa], *os.environ.get("CXXFLAGS", "").split()]


def libraries() -> list[Extension]:
    """One per instruction set, and one for CUDA where it is wanted."""
    names = dict.fromkeys(isas(), "cpp") | ({"cuda": "cu"} if wants_cuda() else {})
    return [
        Extension(f"avatar3d._lib.avatar3d_{name}", found, optional=True)
        for name, suffix in names.items()
        if (found := [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "csrc").rglob(f"*.{suffix}"))])
    ]


class Wheel(bdist_wheel):
    """The libraries do not depend on the version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(
    packages=packages(),
    package_dir=FOLDERS,
    include_package_data=False,  # package_data below says all; with it, setuptools takes viewer/web for a lost package
    package_data={"": ["*.html", "*.js", "*.css", "*.json", "*.npz", "web/*", "py.typed"]},
    ext_modules=libraries(),
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": Wheel},
)
