"""What ran: named in every artefact, because other versions may give other bits."""

import platform

from quantlab import __version__


def versions(*backends: str) -> dict[str, str]:
    """Return the versions of quantlab, of Python and of the given backends («onnxruntime 1.31.1 CPU (…)»)."""
    named = dict(backend.partition(" ")[::2] for backend in backends)
    return {"quantlab": __version__, "python": platform.python_version(), **named}
