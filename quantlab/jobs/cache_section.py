"""A job's part on the TensorRT calibration cache."""

from typing import Any

from pydantic import field_validator as validated
from pydantic import model_validator
from typing_extensions import Self

from quantlab.calibration.trt_cache import header
from quantlab.errors import UsageError
from quantlab.jobs.data_section import Section


class CacheSection(Section):
    """The TensorRT that will read the calibration cache, and the algorithm that its header names.

    Attributes
    ----------
    version
        Such as 8.6.1; TensorRT 11 reads none.
    algorithm
        EntropyCalibration2, MinMaxCalibration, EntropyCalibration or LegacyCalibration.
    partial
        Whether tensors that the table lacks may be missing in the cache.
    """

    version: str = "8.6.1"
    algorithm: str = "EntropyCalibration2"
    partial: bool = False

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            header(self.version, self.algorithm)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @validated("version", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value  # YAML reads 8.6 as a number
