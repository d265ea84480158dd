"""A page of its own in the report's style: one HTML file that takes nothing from anywhere."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quantlab.report import formats

_FILTERS = (
    "breakable", "count", "decibel", "dimensions", "duration", "lost", "milliseconds", "number", "points", "score", "share",
    "size", "sortable", "span", "work",
)  # fmt: skip
_STYLES = ("page.css", "regression.css")


def document(template: str, **values: Any) -> str:
    """Return the page without a script that a template makes of these values, its styles in `styles`."""
    styles = [asset(name) for name in _STYLES]
    return _environment().get_template(template).render(styles=styles, policy=policy(styles), **values)


def environment() -> Environment:
    """Return what renders templates, with the filters of `formats`.

    Names come from strangers' models: templates escape whatever they print, and control characters are spelled out.
    """
    made = Environment(
        loader=PackageLoader("quantlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: formats.visible(value) if type(value) is str else value,
        keep_trailing_newline=True,
    )
    made.filters.update({name: getattr(formats, name) for name in _FILTERS})
    return made


@lru_cache(maxsize=4)
def asset(name: str) -> Markup:
    """Return a style or a script of the report's own."""
    return Markup((files("quantlab.report") / "templates" / name).read_text("utf-8"))


def policy(styles: Sequence[str], scripts: Sequence[str] = ()) -> str:
    """Return the page's own policy: no script and no style but those it holds, and no picture that is not in it."""
    allowed = {"style-src": styles, "script-src": scripts}
    hashes = "".join(f"{kind} {' '.join(map(_source, texts))}; " for kind, texts in allowed.items() if texts)
    return f"default-src 'none'; img-src data:; {hashes}base-uri 'none'; form-action 'none'"


def embedded(picture: bytes) -> str:
    """Return a picture as a data URI; empty for what is neither PNG, JPEG nor our own SVG."""
    kinds: Mapping[bytes, str] = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"<?xml": "svg+xml"}
    kind = next((name for mark, name in kinds.items() if picture.startswith(mark)), "")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}" if kind else ""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return environment()
