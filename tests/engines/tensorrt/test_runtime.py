"""What TensorRT says is told in a sentence."""

import pytest

from quantlab.engines.cuda.memory import devices
from quantlab.engines.tensorrt.runtime import Heard, library, sentence
from quantlab.errors import UsageError


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "[network.cpp::operator()::3020] Error Code 4: Internal Error (input: dimension 1 does not match the profile.)",
            "input: dimension 1 does not match the profile",
        ),
        (
            "3: [builder.cpp::~Builder::307] Error Code 3: API Usage Error (Parameter check failed)",
            "Parameter check failed",
        ),
        ("4: [network.cpp::validate::3036] Error Code 4: Internal Error (x)", "x"),
        ("plain words.", "plain words"),
        ("", ""),
    ],
)
def test_places_and_codes_are_taken_off(line: str, said: str) -> None:
    assert sentence(line) == said


def test_the_first_error_is_told_and_warnings_once() -> None:
    heard = Heard(None)
    heard("warning", "w")
    heard("warning", "w")
    heard("error", "[a.cpp::f::1] first")
    heard("internal error", "second")
    assert heard.first_error == "first"
    assert heard.warnings == ["w"]
    assert Heard(None).first_error == "it gives no reason"


def test_every_line_reaches_the_listener() -> None:
    lines = []
    heard = Heard(lambda severity, text: lines.append((severity, text)))
    heard("verbose", "a")
    assert lines == [("verbose", "a")]


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(UsageError, match="tensorrt or tensorrt_rtx, not «openvino»"):
        library("openvino")  # type: ignore[arg-type]


def test_counting_devices_needs_no_driver() -> None:
    assert devices() >= 0
