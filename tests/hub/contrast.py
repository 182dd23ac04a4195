"""How well the words of a page can be read."""

from __future__ import annotations

from typing import Any

#: The lowest ratio of lightness between letters and what is behind them (WCAG 2.2, 1.4.3).
READABLE = 4.5

_CONTRASTS = """(selector) => {
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = colour(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const words = (node) => [...node.childNodes].some(
    (child) => child.nodeType === 3 && child.textContent.trim());
  return [...document.body.querySelectorAll(selector)]
    .filter((node) => words(node) && node.checkVisibility({ visibilityProperty: true })
      && !node.closest("noscript, .visually-hidden"))
    .map((node) => {
      const under = ground(node), style = colour(getComputedStyle(node).color);
      const alpha = style.length > 3 ? style[3] : 1;
      const over = style.slice(0, 3).map((v, i) => alpha * v + (1 - alpha) * under[i]);
      const [a, b] = [light(over), light(under)].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), node.tagName + "." + node.className + ": "
        + node.textContent.trim().slice(0, 40)];
    });
}"""


def unreadable(page: Any, selector: str = "*") -> list[tuple[float, str]]:
    """The contrast and the beginning of each text that is too faint.

    :raises AssertionError: when the selector finds no text at all.
    """
    found = page.evaluate(_CONTRASTS, selector)
    assert found, f"nothing is written in {selector}"
    return [(contrast, text) for contrast, text in found if contrast < READABLE]
