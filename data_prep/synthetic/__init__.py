# SPDX-License-Identifier: Apache-2.0
"""The made-up talker: a fictional face drawn by program, with a voice made by program, and the truth about both.

    person = Person(load_canonical(task), seed=0)
    footage = film(person, seconds=20, size=256, seed=0)
    write_video(Path("talker.mp4"), footage)

It feeds the tests and the demo. What does well here is not proven on people: hair is a rigid cap, nothing wrinkles.
"""

from avatar3d.data_prep.synthetic.film import Film, Truth, film, orbit, write_video
from avatar3d.data_prep.synthetic.person import Person, filming_camera
from avatar3d.data_prep.synthetic.speech import Phoneme, timeline
from avatar3d.data_prep.synthetic.voice import Voice, say, speech_sample

__all__ = [
    "Film", "Person", "Phoneme", "Truth", "Voice", "film", "filming_camera", "orbit", "say", "speech_sample",
    "timeline", "write_video",
]  # fmt: skip
