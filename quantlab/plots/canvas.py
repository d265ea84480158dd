"""Where to draw, in which colours, and what to say where there is nothing to draw."""

from typing import TYPE_CHECKING

import numpy as np

from quantlab.numerics.arrays import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
"""Of M. Okabe and K. Ito, «Color Universal Design», 2008: told apart with any kind of colour vision."""

GREY = "#767676"
LINES = ((VERMILION, "-"), (GREEN, "--"), (PURPLE, "-."), (ORANGE, (0, (1, 1))), (BLUE, (0, (5, 1))), (GREY, "-"))
"""Colour and dashes of the first, second, … line: in grey print the dashes tell them apart."""

LONGEST_NAME = 44


def canvas(ax: "Axes | None", *, width: float = 7.0, height: float = 3.4) -> "Axes":
    """Return the axes given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def say(axes: "Axes", sentence: str) -> "Axes":
    """Write one sentence where the drawing would be, and leave the rest empty."""
    axes.text(
        0.5, 0.5, plain(sentence, 400), transform=axes.transAxes, ha="center", va="center", wrap=True, color="#444444"
    )
    axes.set(xticks=[], yticks=[])
    return axes


def heading(axes: "Axes", text: str) -> None:
    """Write a line above the drawing, at its left end."""
    axes.set_title(plain(text, 110), loc="left", fontsize="small")


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text that matplotlib shows as it is, its middle left out if it is too long.

    Names come from strangers' models: two dollar signs would be a formula, a leading underscore would keep a line out of
    the legend, and characters that the font lacks are spelled out as escapes.
    """
    shown = "".join(sign if _has_glyph(sign) else sign.encode("unicode_escape").decode() for sign in text)
    if len(shown) > longest:
        shown = f"{shown[: longest // 3]}…{shown[-(longest - longest // 3 - 1) :]}"
    return f"{' ' if shown.startswith('_') else ''}{shown}".replace("$", r"\$")


def _has_glyph(sign: str) -> bool:
    if sign.isascii() or not sign.isprintable():
        return sign.isprintable()
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties())).get_char_index(ord(sign)) > 0


def name_ticks(axes: "Axes", names: "list[str]", *, at_most: int = 24) -> None:
    """Write names below the places 0, 1, …: all of them, or where these are too many every so manieth."""
    step = max(1, -(-len(names) // at_most))
    places = range(0, len(names), step)
    axes.set_xticks(
        list(places), [plain(names[i], 28) for i in places], rotation=40, ha="right", rotation_mode="anchor",
        fontsize="x-small",
    )  # fmt: skip
    axes.set_xlim(-0.6, max(len(names), 1) - 0.4)


def decades(values: AnyArray) -> tuple[float, float] | None:
    """Return limits of a logarithmic axis that hold all positive finite values; None if there are none."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known) & (known > 0)]
    if not known.size:
        return None
    return float(known.min()) / 1.6, float(known.max()) * 1.6
