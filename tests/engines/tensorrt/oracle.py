"""What TensorRT-RTX itself says of a model: its parser and its builder, both of which run without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from quantlab.engines.tensorrt.runtime import library

BATCH = 4
"""What a free dimension becomes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a model.

    `refused_by`: "parser" or "builder", "" if there is a plan; `errors`, `warnings`: their sentences; `plan`: its size;
    `quantizers`: the network's quantize and dequantize layers.
    """

    refused_by: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    plan: int = 0
    quantizers: tuple[int, int] = (0, 0)


class Oracle:
    """One builder for all models; the logger is quantlab's, as the library keeps the first it is given."""

    def __init__(self) -> None:
        lib = library("tensorrt_rtx")
        self._trt, self._log = lib.module, lib.log
        self._builder = self._trt.Builder(lib.log.logger)

    def ask(self, model: onnx.ModelProto) -> Verdict:
        """Parse and build `model`."""
        with self._log.heard() as heard:
            network = self._builder.create_network(0)
            parser = self._trt.OnnxParser(network, self._log.logger)
            if not parser.parse(model.SerializeToString()):
                errors = tuple(parser.get_error(i).desc() for i in range(parser.num_errors))
                return Verdict("parser", errors, tuple(heard.warnings))
            data = self._builder.build_serialized_network(network, self._config(network))
            if data is None:
                return Verdict("builder", tuple(heard.errors), tuple(heard.warnings))
            return Verdict("", (), tuple(heard.warnings), data.nbytes, self._quantizers(network))

    def _config(self, network: Any) -> Any:
        config = self._builder.create_builder_config()
        profile = self._builder.create_optimization_profile()
        for i in range(network.num_inputs):
            tensor = network.get_input(i)
            shape = [BATCH if size == -1 else size for size in tensor.shape]
            profile.set_shape(tensor.name, shape, shape, shape)
        config.add_optimization_profile(profile)
        return config

    def _quantizers(self, network: Any) -> tuple[int, int]:
        kinds = [network.get_layer(i).type for i in range(network.num_layers)]
        return kinds.count(self._trt.LayerType.QUANTIZE), kinds.count(self._trt.LayerType.DEQUANTIZE)
