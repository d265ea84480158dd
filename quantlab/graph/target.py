"""The runtime that a Q/DQ model is made for, and what differs between its versions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantlab.errors import UsageError

_DEFAULT = (10, 3)
_FIRST = (8, 0)  # the first TensorRT that reads Q/DQ
_OUTPUT_CHANNELS = (10, 2)  # facts: ConvTranspose kernels scaled by input channels up to 10.1


@dataclass(frozen=True, slots=True)
class Target:
    """TensorRT of a version (major, minor), or ONNX Runtime where `tensorrt` is None.

    Raises
    ------
    UsageError
        A TensorRT that is too old to read Q/DQ.
    """

    tensorrt: tuple[int, int] | None = _DEFAULT

    def __post_init__(self) -> None:
        if self.tensorrt is not None and self.tensorrt < _FIRST:
            raise UsageError(f"{self} cannot read Q/DQ models; the first that can is tensorrt@8.0.")

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read "tensorrt@10.3", "tensorrt" (10.3) or "ort"; a patch number is left out of account.

        Raises
        ------
        UsageError
            Anything else.
        """
        if text == "ort":
            return cls(None)
        match = re.fullmatch(r"tensorrt(?:@(\d+)(?:\.(\d+))?(?:\.\d+)*)?", text)
        if match is None:
            raise UsageError(f"Unknown target «{text}»: use tensorrt@<major>.<minor>, tensorrt or ort.")
        return cls((int(match[1]), int(match[2] or 0)) if match[1] else _DEFAULT)

    def __str__(self) -> str:
        return "ort" if self.tensorrt is None else f"tensorrt@{self.tensorrt[0]}.{self.tensorrt[1]}"

    @property
    def weighted(self) -> frozenset[str]:
        """Operators that run on integers; ONNX Runtime has no integer ConvTranspose."""
        common = frozenset({"Conv", "Gemm", "MatMul"})
        return common if self.tensorrt is None else common | {"ConvTranspose"}

    def transposed_convolution_axis(self, groups: int) -> int | None:
        """Return the axis of ConvTranspose weight scales: 0 input channels, 1 output channels, None one scale."""
        if self.tensorrt is not None and self.tensorrt < _OUTPUT_CHANNELS:
            return 0
        return 1 if groups == 1 else None
