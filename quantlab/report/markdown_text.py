"""A stranger's text in Markdown: shown as it is, on one line, and nothing else."""

import re

from quantlab.report import formats

_SPECIAL = re.compile(r"[\\`*_\[\]~|$]")
_LEADING = re.compile(r"^(\d*)([-+=.)])(?=\s|[-=]|$)")
_LINKED = re.compile(r"@|#|:(?=//)|(?<=www)\.|(?<=GH)-|:(?=\w+:)", re.IGNORECASE)


def plain(text: str) -> str:
    """Return a text that Markdown and HTML show as it is; it marks nothing up, links nowhere and mentions nobody.

    A comment goes after what GitHub would make a link or a mention of: it reads these after Markdown, so that a
    character reference would not hide them.
    """
    line = " ".join(formats.visible(text).split())
    html = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    marked = _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", html))
    return _LINKED.sub(r"\g<0><!-- -->", marked)
