"""A page of its own in the report's style: one HTML file with no script, which takes nothing from anywhere."""

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from quantlab.report import formats

_STYLES = ("page.css", "regression.css")


def document(template: str, **values: Any) -> str:
    """Return the page that a template makes of these values.

    Names come from strangers' models: the template escapes whatever it prints, control characters are spelled out, and
    the page's own policy lets it run no script, take no style but the two that it holds, and show no picture that is
    not in it.
    """
    styles = [Markup(_asset(name)) for name in _STYLES]
    hashes = " ".join(f"'sha256-{_sha256(style)}'" for style in styles)
    policy = f"default-src 'none'; style-src {hashes}; img-src data:; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(styles=styles, policy=policy, **values)


def embedded(picture: bytes) -> str:
    """Return a picture as a data URI; empty for what is neither PNG, JPEG nor our own SVG."""
    kinds: Mapping[bytes, str] = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"<?xml": "svg+xml"}
    kind = next((name for mark, name in kinds.items() if picture.startswith(mark)), "")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}" if kind else ""


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("quantlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: formats.visible(value) if type(value) is str else value,
        keep_trailing_newline=True,
    )
    names = ("breakable", "number", "count", "share", "score", "lost", "decibel", "milliseconds", "size", "signed")
    made.filters.update({name: getattr(formats, name) for name in names})
    return made


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0].replace("\r\n", "\n")
