"""Renders the words that a text recogniser reads, from `words.txt`, with fixed seeds and matplotlib's own fonts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quantlab.numerics.arrays import U8

HEIGHT, WIDTH = 48, 320
"""Rows and columns of the recogniser's input; a shorter word leaves the right of it empty."""

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono")
SETS = {"calibration": (0, 160), "tuning": (160, 260), "evaluation": (260, 500)}
"""Which words of the list each set renders: no word is in two."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One word and its image.

    Attributes
    ----------
    text
        As it is written in the image.
    pixels
        uint8 [48, width, 3], width at most 320.
    """

    text: str
    pixels: U8


def words(part: str) -> list[str]:
    """Return the words of «calibration», «tuning» or «evaluation»."""
    start, stop = SETS[part]
    listed = Path(__file__).with_name("words.txt").read_text(encoding="ascii").split()
    return listed[start:stop]


def render_set(part: str) -> list[Rendered]:
    """Return the set's words as images; the seed is the place of its first word in the list."""
    draw = np.random.default_rng(SETS[part][0])
    return [render(written(word, draw), draw) for word in words(part)]


def written(word: str, draw: np.random.Generator) -> str:
    """Return the word in one of the ways in which people write it: small, as a name, in capitals, with a number."""
    ways = (word, word, word.capitalize(), word.upper(), f"{word} {draw.integers(1, 1000)}")
    return ways[int(draw.integers(len(ways)))]


def render(text: str, draw: np.random.Generator) -> Rendered:
    """Return the text in a random font, size, pair of colours and noise, scaled to 48 rows."""
    font = ImageFont.truetype(_font_path(FONTS[int(draw.integers(len(FONTS)))]), int(draw.integers(24, 41)))
    left, top, right, bottom = (int(side) for side in font.getbbox(text))
    margins = [int(edge) for edge in draw.integers(3, 11, 4)]
    size = (right - left + margins[0] + margins[1], bottom - top + margins[2] + margins[3])
    paper, ink = _colours(draw)
    image = Image.new("RGB", size, paper)
    ImageDraw.Draw(image).text((margins[0] - left, margins[2] - top), text, ink, font)
    width = min(WIDTH, max(1, round(size[0] * HEIGHT / size[1])))
    clean = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float64)
    noisy = clean + draw.normal(0, draw.uniform(0, 12), clean.shape)
    return Rendered(text, np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def on_line(pixels: U8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return an image [48, width, 3] as the recogniser's input, float32 [3, 48, 320]: (x / 255 − 0.5) / 0.5, then zeros."""
    line = np.zeros((3, HEIGHT, WIDTH), np.float32)
    values = pixels[..., ::-1].astype(np.float32) / np.float32(255)
    line[:, :, : pixels.shape[1]] = ((values - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)
    return line


def _colours(draw: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    light, dark = draw.integers(170, 256, 3), draw.integers(0, 90, 3)
    pair = (light, dark) if draw.random() < 0.8 else (dark, light)
    return tuple(map(int, pair[0])), tuple(map(int, pair[1]))


def _font_path(name: str) -> str:
    import matplotlib as mpl

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")
