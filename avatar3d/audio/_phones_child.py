# SPDX-License-Identifier: Apache-2.0
"""The process that `phones` starts: 16-bit samples at 16 kHz come in, lines of phone, first and last 10 ms go out.

The decoder is native code that has been seen to crash, and a crash ends a process of its own only. Run as a file, so
that this process imports nothing but the decoder.
"""

from __future__ import annotations

import sys
from pathlib import Path

_BEAM = 1e-20  # of states and phones: as its documentation advises for phones without words
_LANGUAGE_WEIGHT = 2.0


def decode(samples: bytes) -> list[tuple[str, int, int]]:
    """Symbol, first and last frame of 10 ms of every phone."""
    import pocketsphinx

    models = Path(pocketsphinx.get_model_path()) / "en-us"
    decoder = pocketsphinx.Decoder(
        hmm=str(models / "en-us"),
        allphone=str(models / "en-us-phone.lm.bin"),
        lm=None,
        dict=None,
        lw=_LANGUAGE_WEIGHT,
        beam=_BEAM,
        pbeam=_BEAM,
        loglevel="FATAL",
    )
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    return [(segment.word, segment.start_frame, segment.end_frame) for segment in decoder.seg() or ()]


if __name__ == "__main__":
    for symbol, first, last in decode(sys.stdin.buffer.read()):
        sys.stdout.write(f"{symbol} {first} {last}\n")
