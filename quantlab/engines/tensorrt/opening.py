"""Opens a plan, or builds one of a model with the wanted tensors exposed."""

from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from quantlab.engines.opening import exposed_network
from quantlab.engines.tensorrt.build import Reports, build, build_network
from quantlab.engines.tensorrt.build_options import BuildOptions, Int8Source
from quantlab.engines.tensorrt.engine import TrtEngine
from quantlab.engines.tensorrt.plan import Plan, read_plan
from quantlab.engines.tensorrt.runtime import LibraryName
from quantlab.errors import UsageError
from quantlab.graph.probe import expose as with_outputs

_PLANS = (".plan", ".engine", ".trt")


def open_trt(
    source: Any,
    *,
    expose: str | tuple[str, ...] | None,
    options: BuildOptions | None,
    int8: Int8Source | None,
    on_device: bool,
    library: LibraryName | None,
    reports: Reports | None,
) -> TrtEngine:
    """Open a plan or a model; see `quantlab.engines.trt`."""
    settings = options or BuildOptions()
    plan = _plan(source)
    if plan is not None:
        if expose is not None or int8 is not None:
            raise UsageError("A plan is built: give the model instead to expose tensors or to choose INT8 scales.")
        return TrtEngine(plan, on_device=on_device, device=settings.device, plugins=settings.plugins)
    if expose is None:
        built = build(source, options=settings, int8=int8, library=library, reports=reports)
        return TrtEngine(built, on_device=on_device, device=settings.device, plugins=settings.plugins)
    network, outputs = exposed_network(source, expose)
    inputs = {i.name for i in network.proto.graph.input}
    visible = replace(network, proto=with_outputs(network.proto, [n for n in outputs if n not in inputs]))
    built = build_network(visible, options=settings, int8=int8, library=library, reports=reports)
    return TrtEngine(
        built,
        on_device=on_device,
        device=settings.device,
        plugins=settings.plugins,
        derivations=network.derivations,
        outputs=outputs,
    )


def _plan(source: Any) -> Plan | None:
    if isinstance(source, Plan):
        return source
    if isinstance(source, str | PathLike) and fspath(source).endswith(_PLANS):
        return read_plan(source)
    return None
