# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from avatar3d.data_prep.synthetic.lexicon import FILM_TEXT, PAUSES, SAMPLE_TEXT, WORDS, words
from avatar3d.data_prep.synthetic.speech import LIP_CLOSURES, PHONES, SILENCE, phones, timeline


@pytest.mark.parametrize("seconds", [0.2, 1.0, 7.31, 20.0, 90.0])
def test_a_timeline_fills_its_time_without_gap_or_overlap(seconds: float) -> None:
    said = timeline(seconds, seed=0)
    assert said[0].start_s == 0 and said[-1].end_s == seconds
    assert all(p.end_s > p.start_s for p in said)
    assert all(before.end_s == after.start_s for before, after in pairwise(said))


def test_the_same_seed_says_the_same_at_the_same_time_and_another_does_not() -> None:
    assert timeline(30, seed=3) == timeline(30, seed=3)
    assert timeline(30, seed=3) != timeline(30, seed=4)


def test_every_word_is_spelt_in_known_sounds() -> None:
    assert {sound for word in WORDS for sound in phones(word)} <= PHONES.keys()


def test_every_text_uses_known_words() -> None:
    stream = words("", np.random.default_rng(0))
    made_up = [next(stream) for _ in range(3000)]
    unknown = {*FILM_TEXT.split(), *SAMPLE_TEXT.split(), *made_up} - WORDS.keys() - PAUSES.keys()
    assert not unknown


def test_the_sample_text_has_sentences_that_the_film_lacks() -> None:
    filmed = {sentence.strip() for sentence in FILM_TEXT.split(".")}
    assert not filmed & {sentence.strip() for sentence in SAMPLE_TEXT.split(".") if sentence.strip()}


def test_speech_has_lip_closures_and_rests() -> None:
    said = timeline(20, seed=0)
    assert sum(p.name in LIP_CLOSURES for p in said) >= 15
    silent_s = sum(p.end_s - p.start_s for p in said if p.name == SILENCE)
    assert 1 < silent_s < 8


def test_quiet_comes_first() -> None:
    first = timeline(20, seed=0, quiet_s=2.5)[0]
    assert (first.name, first.end_s) == (SILENCE, 2.5)
