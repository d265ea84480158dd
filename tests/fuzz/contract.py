"""What a reader owes to any bytes whatever: a value, or one sentence of quantlab's own."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from quantlab.errors import QuantlabError
from tests.fuzz.targets import Target

LONGEST = 2000
"""Characters of the longest sentence that a person is shown."""


def objection(target: Target, data: bytes, folder: Path) -> str:
    """Read one input in an empty folder; return what is wrong with what came of it, empty if nothing is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # for programmers: of NumPy about a name in a header
            target.read(data, folder)
    except QuantlabError as error:
        return _wrong_sentence(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        return f"{type(error).__name__} {_place(error)}: {str(error)[:300]}"
    return ""


def _wrong_sentence(error: QuantlabError) -> str:
    text = str(error)
    if not text.strip() or "Traceback (most recent" in text:
        return f"no sentence {_place(error)}: {text[:300]!r}"
    if len(text) > LONGEST:
        return f"a sentence of {len(text)} characters {_place(error)}: {text[:100]!r}"
    if any(isinstance(cause, MemoryError) and not _of_grammar(cause) for cause in _chain(error)):
        return f"asked for memory before it looked at sizes {_place(error)}: {text[:300]!r}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _of_grammar(error: BaseException) -> bool:
    """Tell whether it is how Python's own parser says that brackets nest too deep."""
    trace, file = error.__traceback__, ""
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return Path(file).name == "ast.py"


def _place(error: BaseException) -> str:
    """Return the innermost line of quantlab, by which findings are told apart."""
    trace, place = error.__traceback__, "outside quantlab"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "quantlab/" in code.co_filename.replace("\\", "/") and "/tests/" not in code.co_filename:
            place = f"in {Path(code.co_filename).name}:{code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
