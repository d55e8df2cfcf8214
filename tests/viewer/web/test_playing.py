# SPDX-License-Identifier: Apache-2.0
"""Clips play with their sound's clock, pause and seek; the head rests, moves by itself, and keeps still where asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import people
import pytest
from sights import Site, message, picture, shot, slide

TOLERANCE_S = 0.02


def test_pictures_follow_the_sounds_clock(page: Any) -> None:
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time > 0.3")
    heard, shown = page.evaluate(
        """() => {
          const { playback, speaker, actor } = avatarPlayer;
          const heard = speaker.context.currentTime - playback.startedAt - (speaker.context.outputLatency || 0);
          const face = actor.script(0).face;
          return [heard, face.expression[0]];
        }"""
    )
    clip = people.clip().expression[:, 0]
    expected = np.interp(heard * 25, np.arange(len(clip)), clip)
    assert shown == pytest.approx(expected, abs=0.05)
    assert page.inner_text("#play") == "Pause"
    shot(page, "playing")


def test_pause_keeps_the_picture_and_play_goes_on(page: Any) -> None:
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time > 0.2")
    page.click("#play")
    at = page.evaluate("() => avatarPlayer.playback.time")
    before = picture(page)
    page.wait_for_timeout(150)
    assert page.evaluate("() => avatarPlayer.playback.time") == at
    np.testing.assert_array_equal(picture(page), before)
    page.click("#play")
    page.wait_for_function(f"() => avatarPlayer.playback.time > {at + 0.1}")


def test_the_slider_seeks(page: Any) -> None:
    slide(page, "time", 0.5)
    seconds = page.evaluate("() => avatarPlayer.playback.seconds")
    assert page.evaluate("() => avatarPlayer.playback.time") == pytest.approx(seconds / 2, abs=TOLERANCE_S)


def test_at_the_end_the_head_rests_and_the_clip_stands_at_its_beginning(page: Any) -> None:
    rest = picture(page)
    page.evaluate("() => avatarPlayer.seek(avatarPlayer.playback.seconds - 0.1)")
    assert np.abs(picture(page) - rest).max() > 0.1
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time === 0 && !avatarPlayer.playback.playing")
    np.testing.assert_array_equal(picture(page), rest)


def test_clips_without_sound_play_too(page: Any) -> None:
    page.select_option("#clip", "capture")
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time > 0.2")
    assert not page.evaluate("() => Boolean(avatarPlayer.playback.sound)")


def test_the_head_moves_and_blinks_by_itself(visit: Callable[..., Any], site: Site) -> None:
    page = visit(f"{site.address}?size={people.SIDE}", reduced_motion="no-preference")
    assert page.is_checked("#moving")
    faces = page.evaluate("() => [0, 3, 6, 9, 12].map((t) => avatarPlayer.actor.face(100 + t).head)")
    assert np.ptp(np.array(faces), axis=0).max() > 0.05
    lids = page.evaluate("() => Array.from({ length: 2500 }, (_, i) => avatarPlayer.actor.blinks.at(i / 25))")
    closing = np.array(lids)
    onsets = int(((closing[1:] > 0.5) & (closing[:-1] <= 0.5)).sum())
    assert 15 < onsets < 50 and closing.max() == pytest.approx(1, abs=0.3) and closing.min() == 0
    again = page.evaluate("() => Array.from({ length: 2500 }, (_, i) => avatarPlayer.actor.blinks.at(i / 25))")
    assert again == lids


def test_reduced_motion_is_respected(page: Any) -> None:
    assert not page.is_checked("#moving")
    before = picture(page)
    page.wait_for_timeout(200)
    np.testing.assert_array_equal(picture(page), before)


def test_a_first_line_says_who_this_is(page: Any) -> None:
    assert "me </script><b>" in message(page) and "Consent: made up" in message(page)
