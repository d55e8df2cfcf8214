# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one thing: which of them this is, and what they say to one another.

torchrun starts the processes and tells each its place in the environment. Within `joined` they can average and gather;
outside, and in a process that was started alone, there is one rank and every call is free.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

__all__ = ["count", "gathered", "joined", "local", "mean_", "of_first", "rank", "shared"]


def rank() -> int:
    """This process's place among all, within `joined` or not: 0 writes files and speaks to the user."""
    if _many():
        return distributed.get_rank()
    return int(os.environ.get("RANK", "0")) if _started_together() else 0


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _many() else 1


def local() -> int:
    """This process's place on this machine, which chooses its device."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _started_together() else 0


@contextmanager
def joined(device: torch.device | str = "cpu") -> Iterator[None]:
    """Within the block the processes that torchrun started know one another (gloo, and nccl on CUDA)."""
    if not _started_together():
        yield
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@torch.no_grad()
def mean_(tensors: Sequence[Tensor]) -> None:
    """Replaces each tensor by its mean over all processes; they must hold the same shapes in the same order."""
    if not _many() or not tensors:
        return
    # one message, however many tensors there are
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= count()
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


@torch.no_grad()
def gathered(tensor: Tensor) -> Tensor:
    """The rows of all processes, in their order: [B,...] of each becomes [count B,...]."""
    if not _many():
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(count())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def shared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the first process's tensors, which all must hold by the same names and in the same shapes."""
    found = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    if _many():
        for tensor in found.values():
            distributed.broadcast(tensor, src=0)
    return found


def of_first(number: float) -> float:
    """The number that the first process gives."""
    if not _many():
        return number
    told = torch.tensor([number], dtype=torch.float64)
    distributed.broadcast(told, src=0)
    return float(told)


def _started_together() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized()
