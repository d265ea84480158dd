"""The samples for which INT8 chooses another class, as pictures where there are any."""

from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from quantlab.comparison.comparison import Comparison
from quantlab.comparison.sample_table import SampleTable
from quantlab.diagnosis.flips import Flips
from quantlab.numerics.arrays import AnyArray
from quantlab.plots.canvas import BLUE, GREY, ORANGE, VERMILION, canvas, heading, plain, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_COLUMNS = 6
_TALL = 0.88 / 0.73  # of a cell, so that a square picture is square
_LARGEST_PICTURE = 1 << 20  # pixels; ours have 96 × 96 at most


def flips(
    samples: SampleTable | Comparison,
    *,
    at_most: int = 24,
    classes: "Sequence[str] | None" = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a grid of flipped samples: picture, name, and FP32's → INT8's class, the surest of them first.

    Parameters
    ----------
    samples
        What is known of each sample, or the comparison that holds it; without pictures the names stand alone.
    at_most
        Samples that are drawn.
    classes
        Names of the classes, by number.
    ax
        Where to draw; a new figure by default. All pictures are in these axes, a cell each.
    """
    if isinstance(samples, Comparison):
        if samples.samples_table is None:
            return say(canvas(ax), "The comparison holds no table of samples: read it with read_samples.")
        samples = samples.samples_table
    flipped = set(samples.flipped)
    order = [row for row in samples.worst() if row in flipped][:at_most]
    columns = min(_COLUMNS, max(len(order), 1))
    rows = max(ceil(len(order) / columns), 1)
    pictures = any(row in samples.pictures for row in order)
    axes = canvas(ax, width=max(1.25 * columns, 4.5), height=max((1.25 * _TALL if pictures else 0.6) * rows + 0.4, 1.6))
    if samples.fp32_class is None or samples.int8_class is None:
        return say(axes, "No output holds class scores, so no sample can flip.")
    if not order:
        return say(axes, f"None of the {len(samples):,} samples flipped.")
    heading(
        axes,
        f"{len(order)} of {len(flipped):,} flipped samples, of {len(samples):,} compared: FP32 → INT8 (bold: FP32 is right)",
    )
    for place, row in enumerate(order):
        left, top = place % columns, place // columns
        if pictures:
            _picture(axes, samples.pictures.get(row), left, top)
        words = (top + 0.8, top + 0.9) if pictures else (top + 0.2, top + 0.5)
        name = samples.names[row] if samples.names else f"sample {row}"
        one, two = int(samples.fp32_class[row]), int(samples.int8_class[row])
        wrong = samples.labels is not None and one == samples.labels[row]
        axes.text(
            left + 0.5, words[0], plain(_file(name), 18), ha="center", va="top", fontsize="xx-small", color="#444444"
        )
        axes.text(
            left + 0.5, words[1], plain(f"{_named(one, classes)} → {_named(two, classes)}", 22), ha="center", va="top",
            fontsize="x-small", color=VERMILION if wrong else BLUE, fontweight="bold" if wrong else "normal",
        )  # fmt: skip
    axes.set(xlim=(0, columns), ylim=(rows + 0.05, 0), xticks=[], yticks=[])
    if pictures:
        axes.set_aspect(_TALL)  # after imshow, which sets another
    axes.spines[:].set_visible(False)
    return axes


def margins(found: Flips, *, ax: "Axes | None" = None) -> "Axes":
    """Draw, for each flipped sample, by how much FP32 preferred its class, in the scores' unit, the surest on top."""
    known = sorted((s for s in found.flipped if s.margin is not None), key=lambda s: -(s.margin or 0.0))[:24]
    axes = canvas(ax, height=1.1 + 0.23 * max(len(known), 4))
    heading(axes, found.sentence)
    if not known:
        return say(axes, "There is no flipped sample to draw.")
    axes.barh(range(len(known)), [s.margin or 0.0 for s in known], color=BLUE)
    names = [plain(_file(s.flip.name) or f"sample {s.flip.index}", 28) for s in known]
    axes.set_yticks(range(len(known)), names, fontsize="x-small")
    axes.invert_yaxis()
    if found.usual_margin is not None:
        axes.axvline(found.usual_margin, color=ORANGE, linestyle="--", label="median of samples that did not flip")
        axes.legend(fontsize="x-small")
    axes.set_xlabel("FP32's margin before the flip, in the scores' unit")
    return axes


def sample_sqnr(samples: SampleTable, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how many samples have which SQNR of the first output, dB; flipped ones apart."""
    axes = canvas(ax)
    known = np.isfinite(samples.sqnr_db)
    values = samples.sqnr_db[known]
    if not values.size:
        return say(axes, "No sample has an SQNR: there is no error, or no finite value.")
    turned = np.isin(np.flatnonzero(known), samples.flipped)
    edges = np.histogram_bin_edges(values, min(40, max(5, values.size // 4)))
    axes.hist([values[~turned], values[turned]], bins=edges.tolist(), stacked=True, color=[BLUE, VERMILION], hatch=["", "//"],
              edgecolor="white", label=["same class", "flipped"])  # fmt: skip
    axes.axvline(float(np.median(values)), color=GREY, linestyle="--", label=f"median {np.median(values):.1f} dB")
    axes.set_xlabel("SQNR of the first output, dB")
    axes.set_ylabel("samples")
    axes.legend(fontsize="x-small")
    return axes


def _picture(axes: "Axes", encoded: bytes | None, left: int, top: int) -> None:
    place = (left + 0.06, left + 0.94, top + 0.77, top + 0.04)
    pixels = None if encoded is None else _decoded(encoded)
    if pixels is None:
        axes.fill_between([place[0], place[1]], place[3], place[2], color="#eeeeee", linewidth=0)
        axes.text(left + 0.5, top + 0.4, "no picture", ha="center", va="center", fontsize="xx-small", color=GREY)
        return
    height, width = pixels.shape[:2]
    wide, high = 0.88 * min(1.0, width / height), 0.73 * min(1.0, height / width)
    middle, centre = left + 0.5, top + 0.405
    axes.imshow(
        pixels, extent=(middle - wide / 2, middle + wide / 2, centre + high / 2, centre - high / 2), aspect="auto"
    )


def _decoded(encoded: bytes) -> AnyArray | None:
    """Return [height, width, 3] bytes; None for what is no small picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > _LARGEST_PICTURE:
                return None
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    return pixels


def _named(number: int, classes: "Sequence[str] | None") -> str:
    if number < 0:
        return "none"
    return classes[number] if classes is not None and number < len(classes) else str(number)


def _file(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
