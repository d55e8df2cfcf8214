# SPDX-License-Identifier: Apache-2.0
"""What hands do: mouse, touch, keys and sliders; and that everybody can use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import people
import pytest
from sights import Site, message, picture, shot, slide

LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, text
LEAST_EDGE_CONTRAST = 3.0  # the same, what shows where a control is
_CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const all = [...document.querySelectorAll("button, label, legend, summary, p, select, input[type=url]")]
    .filter((element) => element.offsetParent && !element.disabled);
  return all.map((element) => {
    const style = getComputedStyle(element);
    const bordered = element.matches("button, select, .button, input");
    return [element.id || element.textContent.trim(), ratio(parse(style.color), behind(element)),
      bordered ? ratio(parse(style.borderColor), behind(element.parentElement)) : 99];
  });
}"""


def drag(page: Any, dx: float, dy: float) -> None:
    box = page.locator("#picture").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()


def view(page: Any) -> dict[str, float]:
    found: dict[str, float] = page.evaluate("() => avatarPlayer.stage.view")
    return found


def test_a_drag_turns_the_camera_as_far_as_the_person_was_seen(page: Any) -> None:
    front = picture(page)
    drag(page, 40, 25)
    assert view(page)["yaw"] == pytest.approx(0.24, abs=0.01) and view(page)["pitch"] == pytest.approx(-0.15, abs=0.01)
    assert np.abs(picture(page) - front).max() > 0.2
    shot(page, "orbit")
    drag(page, 500, 0)
    assert view(page)["yaw"] == pytest.approx(0.6)
    page.click("#front")
    np.testing.assert_array_equal(picture(page), front)


def test_the_wheel_and_keys(page: Any) -> None:
    page.hover("#picture")
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => avatarPlayer.stage.view.zoom > 1.3")
    page.focus("#picture")
    for key in ("ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert view(page)["yaw"] == pytest.approx(-0.05) and view(page)["pitch"] == pytest.approx(0.05)
    page.keyboard.press("0")
    assert view(page) == {"yaw": 0, "pitch": 0, "zoom": 1}
    page.keyboard.press("+")
    assert view(page)["zoom"] > 1
    page.keyboard.press(" ")
    page.wait_for_function("() => avatarPlayer.playback.playing")


def test_two_fingers_come_closer_and_one_turns(page: Any) -> None:
    page.evaluate(
        """() => {
          const canvas = document.getElementById("picture");
          canvas.setPointerCapture = () => {};
          const touch = (name, pointerId, clientX, clientY) => canvas.dispatchEvent(
            new PointerEvent(name, { pointerId, clientX, clientY, pointerType: "touch" }));
          touch("pointerdown", 1, 100, 100); touch("pointermove", 1, 120, 100);
          touch("pointerdown", 2, 200, 100); touch("pointermove", 2, 280, 100);
          touch("pointerup", 2, 280, 100); touch("pointerup", 1, 120, 100); touch("pointermove", 1, 300, 100);
        }"""
    )
    assert view(page)["yaw"] == pytest.approx(0.12) and view(page)["zoom"] == pytest.approx(2)


def test_sliders_and_reset(page: Any) -> None:
    rest = picture(page)
    slide(page, "jawOpen", 1)
    assert np.abs(picture(page) - rest).max() > 0.1
    page.locator("summary", has_text="Mouth and jaw").click()
    shot(page, "sliders")
    page.click("#reset")
    np.testing.assert_array_equal(picture(page), rest)


def test_all_of_arkits_names_have_a_slider_and_the_tongue_says_why_not(page: Any) -> None:
    from avatar3d.face.arkit import SCORES

    names = page.evaluate("() => Array.from(document.querySelectorAll('#sliders input'), (one) => one.id)")
    assert {*names} == {*SCORES[1:], "tongueOut", "yaw", "pitch", "roll"}
    assert page.is_disabled("#tongueOut") and page.get_attribute("#tongueOut", "title")


def test_what_is_behind_the_head(page: Any) -> None:
    room = picture(page)[0, 0]
    np.testing.assert_allclose(room[:3], np.array([40, 120, 200]) / 255, atol=0.01)
    page.select_option("#behind", "nothing")
    clear = picture(page)
    assert clear[0, 0, 3] == 0 and clear[people.SIDE // 2, people.SIDE // 2, 3] > 0.5
    shot(page, "transparent")
    page.select_option("#behind", "plain")
    assert picture(page)[0, 0, 3] == 1


def test_other_programs_get_the_bare_picture(visit: Callable[..., Any], site: Site) -> None:
    page = visit(f"{site.address}?bare&behind=nothing&size=64")
    assert picture(page).shape[:2] == (64, 64) and picture(page)[0, 0, 3] == 0
    assert page.is_hidden("#panel") and page.is_hidden("#bar")


def test_everything_has_a_name_and_can_be_read(page: Any) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, canvas")]
          .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim())
          .map((one) => one.id)"""
    )
    assert not nameless
    for name, text, edge in page.evaluate(_CONTRASTS):
        assert text >= LEAST_CONTRAST and edge >= LEAST_EDGE_CONTRAST, name
    assert page.get_attribute("#message", "aria-live") == "polite"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Any) -> None:
    reached = set()
    page.evaluate("() => document.body.focus()")
    for _ in range(25):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
              const one = document.activeElement;
              const shown = [one, one.parentElement].map((at) => getComputedStyle(at))
                .some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
              return [one.id, shown];
            }"""
        )
        if name:
            assert outline, name
            reached.add(name)
    assert {
        "picture",
        "play",
        "time",
        "microphone",
        "record",
        "front",
        "file",
        "behind",
        "moving",
        "connect",
    } <= reached


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(visit: Callable[..., Any], site: Site, width: int) -> None:
    page = visit(site.address, viewport={"width": width, "height": 780}, device_scale_factor=2, has_touch=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    box = page.locator("#picture").bounding_box()
    assert box["width"] >= 0.8 * width and box["y"] < 50
    assert page.locator("#play").bounding_box()["y"] < 780
    assert min(page.locator(f"#{name}").bounding_box()["height"] for name in ("play", "microphone", "front")) >= 40
    assert message(page)
    shot(page, f"phone_{width}")
