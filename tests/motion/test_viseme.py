# SPDX-License-Identifier: Apache-2.0
"""The voice by rule: what each phone must do to the mouth, and how phones run into one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_tcn import made_up

from avatar3d.arpabet import PHONES
from avatar3d.audio.mel import Mel
from avatar3d.contracts import Speak
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES
from avatar3d.motion._viseme_table import MOUTHS, Glide
from avatar3d.motion.viseme import Viseme, shapes_from_phones
from avatar3d.records import SAMPLE_RATE, Sound, TimedPhone

PARTING = ("jawOpen", "mouthLowerDownLeft", "mouthUpperUpLeft", "mouthFunnel")


def said(*phones: tuple[str, float], start_s: float = 0.4) -> list[TimedPhone]:
    """Phones with their lengths in s, one after another."""
    made = []
    for symbol, seconds in phones:
        made.append(TimedPhone(symbol, start_s, start_s + seconds))
        start_s += seconds
    return made


def curve(phones: list[TimedPhone], name: str, frames: int | None = None) -> np.ndarray:
    return shapes_from_phones(phones, frames).expression[:, SCORES.index(name)]


def at(phones: list[TimedPhone], which: int, name: str) -> float:
    """A score in the frame nearest to the middle of a phone, while lips are where its sound is made."""
    middle_s = (phones[which].start_s + phones[which].end_s) / 2
    return float(curve(phones, name)[int((middle_s - 0.03) * 25)])


class Spelling:
    """An audio feature that hears what it is told."""

    width, look_ahead_s = len(PHONES), 0.0

    def __init__(self, *heard: TimedPhone) -> None:
        self.heard = list(heard)

    def __call__(self, sound: Sound) -> np.ndarray:
        return np.zeros((round(sound.seconds * 25), self.width), np.float32)

    def phones(self, sound: Sound) -> list[TimedPhone]:
        return self.heard


def test_every_phone_has_a_mouth_of_shapes_that_exist() -> None:
    assert set(MOUTHS) == set(PHONES)
    plain = {name.removesuffix("Left").removesuffix("Right") for name in SCORES}
    for mouth in MOUTHS.values():
        for part in (mouth.start, mouth.end) if isinstance(mouth, Glide) else (mouth,):
            assert set(part.shapes) <= plain
            assert all(0 < value <= 1 for value in part.shapes.values())


@pytest.mark.parametrize("phone", ["P", "B", "M"])
@pytest.mark.parametrize("vowel", ["AA", "AE", "OW", "IY"])
@pytest.mark.parametrize("seconds", [0.03, 0.06, 0.12])
@pytest.mark.parametrize("start_s", [0.40, 0.413, 0.427])
def test_bilabials_shut_the_lips_however_short(phone: str, vowel: str, seconds: float, start_s: float) -> None:
    phones = said((vowel, 0.15), (phone, seconds), (vowel, 0.15), start_s=start_s)
    motion = shapes_from_phones(phones).expression
    within = slice(int(phones[0].end_s * 25) - 2, int(phones[1].end_s * 25) + 1)
    parted = motion[within][:, [SCORES.index(name) for name in PARTING]]
    assert parted.max(1).min() < 0.05
    assert motion[within, SCORES.index("mouthPressLeft")].max() > 0.15
    assert motion[int((phones[0].start_s + 0.05) * 25), SCORES.index("jawOpen")] > 0.05


def test_labiodentals_tuck_the_lower_lip_under_the_teeth() -> None:
    phones = said(("AA", 0.15), ("F", 0.1), ("AA", 0.15))
    assert at(phones, 1, "mouthRollLower") > 0.25 > 0.1 > at(phones, 0, "mouthRollLower")
    assert at(phones, 1, "jawOpen") < 0.12 < 0.3 < at(phones, 0, "jawOpen")
    assert at(phones, 1, "mouthUpperUpLeft") > 0.1


def test_vowels_differ_as_their_heights_and_lips_do() -> None:
    jaw = {vowel: at(said((vowel, 0.3)), 0, "jawOpen") for vowel in ("AA", "AE", "EH", "IH", "IY", "UW")}
    assert jaw["AA"] > jaw["AE"] > jaw["EH"] > jaw["IH"] > jaw["IY"] > jaw["UW"]
    pucker = {vowel: at(said((vowel, 0.3)), 0, "mouthPucker") for vowel in ("UW", "UH", "AO", "IY", "AA")}
    assert pucker["UW"] > pucker["UH"] > pucker["AO"] > pucker["IY"] == pucker["AA"] == 0
    assert at(said(("IY", 0.3)), 0, "mouthSmileLeft") > 0.1 > at(said(("UW", 0.3)), 0, "mouthSmileLeft")


def test_a_diphthong_goes_from_one_vowel_to_another() -> None:
    pucker, jaw = (curve(said(("OW", 0.4)), name) for name in ("mouthPucker", "jawOpen"))
    assert jaw.argmax() < pucker.argmax()
    assert pucker.max() > 0.4


def test_rounding_begins_before_its_own_vowel() -> None:
    """Anticipation: the /s/ of "sue" is rounded, that of "see" is spread."""
    sue, see = said(("S", 0.12), ("UW", 0.2)), said(("S", 0.12), ("IY", 0.2))
    assert at(sue, 0, "mouthPucker") > 0.08 > at(see, 0, "mouthPucker")
    assert at(see, 0, "mouthStretchLeft") > at(sue, 0, "mouthStretchLeft")


def test_what_is_made_out_of_sight_takes_its_neighbours_mouth() -> None:
    wide, narrow = said(("AA", 0.15), ("K", 0.08), ("AA", 0.15)), said(("IY", 0.15), ("K", 0.08), ("IY", 0.15))
    assert at(wide, 1, "jawOpen") > 1.5 * at(narrow, 1, "jawOpen")
    hiss_wide, hiss_narrow = (said((vowel, 0.15), ("S", 0.08), (vowel, 0.15)) for vowel in ("AA", "IY"))
    assert at(hiss_wide, 1, "jawOpen") < 0.6 * at(wide, 1, "jawOpen")
    moved = at(hiss_wide, 1, "jawOpen") - at(hiss_narrow, 1, "jawOpen")
    assert moved < 0.6 * (at(wide, 1, "jawOpen") - at(narrow, 1, "jawOpen"))


def test_the_mouth_opens_before_the_first_sound_and_is_shut_soon_after_the_last() -> None:
    jaw = curve(said(("AA", 0.3), start_s=1.0), "jawOpen", 60)
    assert jaw[:20].max() < 0.01 and jaw[60 - 18 :].max() < 0.01  # shut 200 ms before and 400 ms after
    assert jaw[25] > 0.1


def test_short_gaps_do_not_shut_the_mouth_and_long_ones_do() -> None:
    def least(gap_s: float) -> float:
        vowel = said(("AA", 0.3))
        return float(curve([*vowel, *said(("AA", 0.3), start_s=vowel[0].end_s + gap_s)], "jawOpen")[16:-6].min())

    assert least(0.05) > 0.25 and least(0.7) < 0.01


def test_gaps_and_silences_are_the_same() -> None:
    first, last = said(("AA", 0.2)), said(("IY", 0.2), start_s=1.2)
    named = [*first, TimedPhone("SIL", first[0].end_s, 1.2), *last]
    np.testing.assert_allclose(
        shapes_from_phones(named).expression, shapes_from_phones([*first, *last]).expression, atol=1e-6
    )


def test_stress_does_not_matter_and_nothing_jumps() -> None:
    rng = np.random.default_rng(0)
    spoken = [(str(phone), float(rng.uniform(0.04, 0.15))) for phone in rng.choice(PHONES, 80)]
    motion = shapes_from_phones(said(*spoken)).expression
    stressed = shapes_from_phones(said(*((phone + "1" * (phone[0] in "AEIOU"), s) for phone, s in spoken))).expression
    np.testing.assert_array_equal(motion, stressed)
    mouth = [column for column, name in enumerate(SCORES) if name.startswith(("jaw", "mouth"))]
    assert motion.min() >= 0 and motion.max() <= 1
    assert np.abs(np.diff(motion[:, mouth], axis=0)).max() < 0.35


def test_nothing_said_is_a_mouth_at_rest() -> None:
    motion = shapes_from_phones([], 100, seed=1)
    mouth = [column for column, name in enumerate(SCORES) if name.startswith(("jaw", "mouth"))]
    assert not motion.expression[:, mouth].any()
    assert len(shapes_from_phones([])) == 0


def test_lids_close_in_blink_and_score_alike() -> None:
    motion = shapes_from_phones(said(("AA", 20.0)), seed=3)
    assert motion.blink.max() == 1
    np.testing.assert_array_equal(motion.expression[:, SCORES.index("eyeBlinkLeft")], motion.blink[:, 1])


@pytest.mark.parametrize(
    "phones", [[TimedPhone("AA", 1.0, 1.2), TimedPhone("B", 0.5, 0.6)], [TimedPhone("AA", 1.0, 0.9)]]
)
def test_phones_out_of_order_are_refused(phones: list[TimedPhone]) -> None:
    with pytest.raises(InputError, match="order of time"):
        shapes_from_phones(phones)


@pytest.mark.parametrize("listen", [None, Mel()])
def test_a_feature_that_knows_no_phones_is_refused(listen: Mel | None) -> None:
    with pytest.raises(InputError, match="--audio phones"):
        Viseme(listen)


def test_it_speaks_as_long_as_the_sound_and_only_while_there_is_one() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * h * time) / h for h in range(1, 20)) * (time < 0.8) * 0.2
    voice = Viseme(Spelling(TimedPhone("AA", 0.0, 2.0)))  # the decoder took the silence for a vowel
    assert isinstance(voice, Speak)
    motion = voice(Sound(buzz.astype(np.float32), SAMPLE_RATE))
    jaw = motion.expression[:, SCORES.index("jawOpen")]
    assert len(motion) == 50 and motion.basis == "arkit"
    assert jaw[5:18].min() > 0.3 and jaw[26:].max() == 0


def test_it_rests_as_the_person_does_and_comes_back_from_its_tensors() -> None:
    _, track = made_up(4.0)
    scores = np.full((len(track.motion), 52), 0.1, np.float32)
    scores[:, SCORES.index("mouthPressLeft")] = 0.3
    scores[::7] = np.nan  # frames without a face
    track = replace(track, landmarks=replace(track.landmarks, scores=scores))
    spelling = Spelling(TimedPhone("SIL", 0.0, 1.0))
    voice = Viseme.of(spelling, track)
    quiet = voice(Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)).expression
    assert quiet[:, SCORES.index("mouthPressLeft")] == pytest.approx(0.3)
    assert quiet[0, SCORES.index("eyeBlinkLeft")] == 0
    again = Viseme.restore(voice.config(), voice.tensors(), spelling)
    np.testing.assert_array_equal(again.rest, voice.rest)
    assert again.habit.log_interval == pytest.approx(voice.habit.log_interval)
