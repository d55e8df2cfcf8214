# SPDX-License-Identifier: Apache-2.0
"""The front door: one verb, one recipe.

This file imports nothing heavy, so that `avatar3d --help` answers at once and Ctrl-C is understood from the first
moment. What each verb takes stands in `options`; what it does stands in `avatar3d.recipes`.

Exit codes: 0 done, 1 a fault of this program, 2 input the user can mend (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator, Sequence

from avatar3d.errors import InputError

__all__ = ["main"]

_AGAIN_S = 0.05
_USERS_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (default: this process's) and returns the exit code."""
    try:
        with _interrupts_heard():
            from avatar3d.cli.run import run

            code = run(list(sys.argv[1:] if arguments is None else arguments))
            sys.stdout.flush()
            return code
    except KeyboardInterrupt as stop:
        return _leave(130, f"avatar3d: interrupted; {str(stop) or 'the same command continues'}")
    except BrokenPipeError:
        # whoever read our output has gone; the interpreter must not complain about it while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("AVATAR3D_DEBUG") == "1":
            raise
        mine = _users_own(error)
        return _leave(2, f"avatar3d: error: {mine}") if mine else _leave(1, _our_fault(error))


@contextlib.contextmanager
def _interrupts_heard() -> Iterator[None]:
    """Raises a Ctrl-C again that met a destructor or a weak reference's callback, where Python drops exceptions.

    That is no rare chance: a signal waits for the end of a long call into torch, and what runs first then is often the
    callback of a tensor that this call let go.
    """
    before = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            threading.Timer(_AGAIN_S, _thread.interrupt_main).start()  # not at once: it would be dropped here too
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _users_own(error: Exception) -> str | None:
    """What to tell the user where the fault is one that they can mend."""
    if isinstance(error, InputError):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.errno in _USERS_DISK:
        place = error.filename or "the output folder"
        return _one_line(f"{place}: {error.strerror}; free some space or name a folder that you may write to")
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or choose a smaller --size or --preset"
    return None


def _our_fault(error: Exception) -> str:
    return _one_line(
        f"avatar3d: a fault in the program: {type(error).__name__}: {error}; "
        "run the same command with AVATAR3D_DEBUG=1 and report what it prints, with the output of `avatar3d doctor`"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _leave(code: int, line: str) -> int:
    sys.stderr.write(line + "\n")
    return code
