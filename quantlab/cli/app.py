"""The commands of `quantlab`: one file each; what a command needs is loaded when it runs."""

from typing import Annotated

import typer

from quantlab import __version__
from quantlab.cli import (
    build,
    cache,
    calibrate,
    collect,
    compare,
    deploy,
    diagnose,
    history,
    inspect,
    job,
    lint,
    qat,
    quantize,
    regress,
    report,
    run,
    tune,
)
from quantlab.cli.boundary import Commands
from quantlab.cli.help_text import EXIT_CODES, described

_HELP = described(
    "INT8 calibration workbench: count histograms, choose scales, build Q/DQ models and TensorRT caches, and measure what "
    "they cost.",
    examples=(
        "quantlab run calib_data/fashion.yaml",
        "quantlab collect model.onnx --data calib/ --preprocess imagenet.yaml -o run/histograms.h5",
        "quantlab calibrate run/histograms.h5 --method squared-error -o run/scales.json",
        "quantlab quantize model.onnx run/scales.json -o run/model.int8.onnx",
        "quantlab compare model.onnx run/model.int8.onnx --data eval/ --preprocess imagenet.yaml -o run/compare.json",
        "quantlab report run/ -o run/report.html",
    ),
    exits=tuple(EXIT_CODES),
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"quantlab {__version__}")
        raise typer.Exit


@app.callback(help=_HELP)
def _before(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error too (or set QUANTLAB_DEBUG=1).")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


for command in (
    run,
    job,
    collect,
    calibrate,
    quantize,
    build,
    compare,
    tune,
    qat,
    regress,
    diagnose,
    report,
    history,
    lint,
    cache,
    deploy,
    inspect,
):
    command.add_to(app)
