"""Which ONNX nodes a layer holds: from TensorRT's metadata, else from the layer's name."""

import re
from collections.abc import Callable, Iterable

_SEPARATORS = re.compile("[\x1e\x1f]")
_TAG = "[ONNX Layer: "
_FUNCTIONS = re.compile(r"(?:PWN|PWN[A-Za-z]*)\((.*)\)", re.DOTALL)
_NAMELESS = re.compile(r"\(Unnamed Layer\* [0-9]+\)")
COPY_OF = re.compile(r"Reformatt(?:ing CopyNode for|ed) (?:Input|Output) Tensor [0-9]+ to (.*)", re.DOTALL)

Finder = Callable[[str], tuple[str, ...]]


def nodes_in_metadata(text: str) -> tuple[str, ...]:
    """Return the names in «[ONNX Layer: a]<0x1e>[ONNX Layer: b]», each once; a name may hold brackets."""
    names: list[str] = []
    for part in _SEPARATORS.split(text):
        tag = part.strip()
        if tag.startswith(_TAG) and tag.endswith("]"):
            names += tag.removeprefix(_TAG)[:-1].split(f"]{_TAG}")
    return tuple(dict.fromkeys(names))


def finder(known: Iterable[str]) -> Finder:
    """Return a function that finds node names in a layer's name.

    Parameters
    ----------
    known
        The model's node names: the longest that stands between separators is found, even if it holds " + ". Without
        any, the name is taken apart at " + ", " || " and inside PWN(…), which a name with those would mislead.
    """
    names = sorted({name for name in known if name}, key=len, reverse=True)
    if not names:
        return _taken_apart
    any_name = re.compile(
        rf"(?:(?<![^\s(\[{{,|])|(?<=\.\.\.))(?:{'|'.join(map(re.escape, names))})(?=$|[\s)\]}},|]|\.\.\.)"
    )
    return lambda name: () if COPY_OF.fullmatch(name) else tuple(dict.fromkeys(any_name.findall(name)))


def _taken_apart(name: str) -> tuple[str, ...]:
    if COPY_OF.fullmatch(name):
        return ()
    found: list[str] = []
    waiting = [name]
    while waiting:
        part = waiting.pop().strip()
        inner = _FUNCTIONS.fullmatch(part)
        pieces = re.split(" \\+ | \\|\\| ", part)
        if len(pieces) > 1:
            waiting += reversed(pieces)
        elif inner:
            waiting += reversed(inner.group(1).split(", "))
        elif part and not _NAMELESS.match(part):
            found.append(part)
    return tuple(dict.fromkeys(found))
