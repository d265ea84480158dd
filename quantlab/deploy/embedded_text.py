"""The README of an embedded bundle."""

from __future__ import annotations

from quantlab.deploy.bundle import Bundle

_CACHE = """\
The network is the float ONNX model; its INT8 scales are in calibration.cache, which TensorRT up to 10 reads in the place of a
calibration. No data is needed. TensorRT 11 has no calibration caches: make a bundle for it, which holds a Q/DQ model.
"""
_QDQ = """\
The network is an ONNX model with explicit Q/DQ, which hold its INT8 scales: there is no calibration cache, and no data is needed.
"""


def readme(bundle: Bundle, *, script: bool) -> str:
    """Return what a person on the target should read; `script` tells whether there is a `make_plan.sh`."""
    settings = bundle.settings
    ways = [
        "  python3 make_plan.py              Python 3.6 or later, and TensorRT's Python module; also writes the plan's card"
    ]
    ways += [
        "  g++ -std=c++14 -O1 make_plan.cpp -o make_plan -I/usr/local/cuda/include -lnvinfer -lnvinfer_plugin -lnvonnxparser",
        "  ./make_plan .                     the same in C++",
    ]
    ways += ["  sh make_plan.sh                   with NVIDIA's trtexec"] if script else []
    notes = "".join(f"- {plain_text(note)}\n" for note in bundle.notes)
    profiles = "".join(
        f"  {plain_text(name)}: {' … '.join('x'.join(map(str, shape)) for shape in ends)} (smallest, best, largest)\n"
        for profile in settings["profiles"]
        for name, ends in profile.items()
    )
    return (
        f"{bundle.name}: a network that builds its TensorRT plan here\n\n"
        f"Made from {plain_text(bundle.model_name)} for {bundle.target}, {'+'.join(settings['precision'])}.\n"
        f"{_CACHE if settings['form'] == 'cache' else _QDQ}\n"
        "Any one of these writes model.plan into this folder; each checks SHA256SUMS first:\n"
        + "\n".join(ways)
        + "\n\nA plan belongs to the TensorRT version and the GPU that built it: build on each kind of target.\n"
        + (f"\nShapes:\n{profiles}" if profiles else "")
        + (f"\nNotes:\n{notes}" if notes else "")
        + "\nWhere it comes from: bundle.json. Check by hand: sha256sum -c SHA256SUMS; with quantlab: quantlab deploy verify .\n"
    )


def plain_text(text: str) -> str:
    """Return a text without what a terminal would obey: names come from strangers' models."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
