"""The packages that training needs, and the one sentence said where one is not installed."""

from importlib.util import find_spec

from quantlab.errors import MachineError

TORCH_ADVICE = "quantlab's training and export need PyTorch, which is not installed: pip install 'quantlab[qat]'."


def require_torch() -> None:
    """Refuse to go on without PyTorch.

    Raises
    ------
    MachineError
        When there is no torch.
    """
    if not _is_installed("torch"):
        raise MachineError(TORCH_ADVICE)


def require_onnxscript() -> None:
    """Refuse to go on without what torch's newer exporter (dynamo=True) is written with.

    Raises
    ------
    MachineError
        When there is no onnxscript.
    """
    if not _is_installed("onnxscript"):
        raise MachineError(
            "torch's «dynamo» exporter needs onnxscript, which is not installed: pip install onnxscript, or take "
            "exporter='torchscript'."
        )


def require_onnxslim() -> None:
    """Refuse to go on without what simplifies chains of shapes.

    Raises
    ------
    MachineError
        When there is no onnxslim.
    """
    if not _is_installed("onnxslim"):
        raise MachineError(
            "Simplifying an exported model needs onnxslim, which is not installed: pip install 'quantlab[slim]'."
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # a package that is blocked, or half removed
        return False
