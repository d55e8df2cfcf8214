# SPDX-License-Identifier: Apache-2.0
"""From a list of words to a verb that runs: the table of verbs, their help, and one line for each mistake."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

from avatar3d import __version__
from avatar3d.cli.options import VERBS, Verb
from avatar3d.errors import InputError

_BEFORE = """\
avatar3d {version}: from a video of one person to a 3D head that talks

usage: avatar3d VERB ...        avatar3d VERB --help says what a verb takes, with units

"""
_AFTER = """
Begin with   avatar3d create me.mp4 -o me    or, without a video,   avatar3d demo -o demo
Exit codes: 0 done, 1 a fault of this program, 2 input that you can mend, 130 interrupted (the same command continues).
"""
_EXPLAINED = 9  # columns by which the parser indents what an option is for


def run(words: list[str]) -> int:
    """Runs the verb that `words` name.

    Raises:
        InputError: no such verb, or arguments it does not take.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"avatar3d {__version__}\n")
        return 0
    name, *rest = words
    if name not in VERBS:
        raise InputError(f"no verb named {name!r}", f"choose one of: {', '.join(VERBS)}")
    verb = parse(name, rest)
    if verb is not None:
        _carry_out(name, verb)
    return 0


def overview() -> str:
    """The text of `avatar3d --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {_summary(verb)}\n" for name, verb in VERBS.items()]
    return _BEFORE.format(version=__version__) + "".join(lines) + _AFTER


def parse(name: str, words: list[str]) -> Verb | None:
    """The verb with its options; None where its help was asked for (and has been shown)."""
    import tyro

    complaint = io.StringIO()
    prog = f"avatar3d {name}"
    try:
        with contextlib.redirect_stderr(complaint):
            verb, unknown = tyro.cli(
                VERBS[name], prog=prog, args=words, return_unknown_args=True, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as leaving:
        if not leaving.code:
            return None
        raise InputError(unboxed(complaint.getvalue()), f"see `{prog} --help`") from None
    if unknown:
        raise InputError(f"{prog} does not take {' '.join(unknown)!r}", f"see `{prog} --help`")
    return verb


def unboxed(box: str) -> str:
    """The first message of the framed text that the parser wrote, as one line without the frame."""
    message: list[str] = []
    for line in box.splitlines():
        inner = line.strip("│").rstrip("│ ")
        if line.startswith("╭"):
            continue
        if not inner.strip(" ─╰╯"):
            break  # below a rule stands advice that we give in our own words
        if not inner.startswith(" " * _EXPLAINED):
            message.append(inner.strip())
    return " ".join(message).rstrip(".;: ") or "these arguments cannot be understood"


def _carry_out(name: str, verb: Verb) -> None:
    from avatar3d.cli.output import Output

    with Output(quiet=verb.quiet) as out:
        figures: dict[str, Any] = verb.run(out)
    if verb.json is not None and figures:
        from avatar3d.store import write_json

        write_json(verb.json, {"verb": name, "program": __version__, **figures})


def _summary(verb: type[Verb]) -> str:
    return (verb.__doc__ or "").strip().splitlines()[0].rstrip(".")
