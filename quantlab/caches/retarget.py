"""A cache for another TensorRT or calibrator: the header changes, no scale does."""

from quantlab.calibration.methods.tensorrt import TensorRTLegacy
from quantlab.calibration.trt_cache import CalibrationCache, header
from quantlab.errors import UsageError

_REMOVED = 11


def retargeted(
    cache: CalibrationCache, *, version: str | None = None, algorithm: str | None = None, quantile: float | None = None
) -> CalibrationCache:
    """Return the cache with the header of another version, algorithm or both.

    Parameters
    ----------
    version
        For instance «10.3.0»; None keeps the cache's.
    algorithm
        Of the calibrator that will read it; None keeps the cache's.
    quantile
        What a header of LegacyCalibration is to say; None: TensorRT's default.

    Raises
    ------
    UsageError
        For TensorRT 11, which reads none; an unknown version or algorithm; a version that neither the cache nor the
        caller names.
    """
    wanted = version or cache.version
    named = algorithm or cache.algorithm
    if wanted is not None and wanted.partition(".")[0].isdecimal() and int(wanted.partition(".")[0]) >= _REMOVED:
        raise UsageError(
            f"TensorRT {wanted} reads no calibration cache: 11 removed them. Turn it into a Q/DQ model with "
            "`quantlab cache convert CACHE --model MODEL.onnx --target tensorrt@11.0 -o MODEL.int8.onnx`."
        )
    if wanted is None and named != "LegacyCalibration":
        raise UsageError(
            f"The header «{cache.header[:60]}» names no TensorRT version: give one, as in --tensorrt 8.6.1."
        )
    if named == "LegacyCalibration" == cache.algorithm and quantile is None:
        return cache  # its first line names no version
    share = TensorRTLegacy().quantile if quantile is None else quantile
    return CalibrationCache(header(wanted or "8.6.1", named, quantile=share), cache.scales)
