"""Triton's own schema of `config.pbtxt`: the one lazy door to `tritonclient`, whose package ships it.

A configuration is never written as text of our own: it is a message of Triton's `ModelConfig` (model_config.proto of
triton-inference-server/common), written by protobuf and read back by it, so that what the schema does not know cannot
get into a file. That needs the extra `triton`, for writing and for verifying alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

from quantlab.errors import InputError, MachineError

_MODULE = "tritonclient.grpc.model_config_pb2"


def render_config(fields: Mapping[str, Any]) -> str:
    """Return a model configuration as protobuf text.

    Parameters
    ----------
    fields
        As `ModelConfig` has them, enumerations by name.

    Raises
    ------
    InputError
        For a field or value that the schema does not have.
    MachineError
        Without tritonclient.
    """
    try:
        message = json_format.ParseDict(dict(fields), _message())
    except (json_format.ParseError, UnicodeEncodeError) as error:
        raise InputError(f"Triton's schema does not take this configuration: {_sentence(error)}") from error
    return str(text_format.MessageToString(message, as_utf8=True))


def parse_config(text: str) -> dict[str, Any]:
    """Return the fields of a `config.pbtxt`; 64-bit integers are text, as in protobuf's JSON, and what is unset is left out.

    Raises
    ------
    InputError
        For text that is no `ModelConfig`, naming the line.
    MachineError
        Without tritonclient.
    """
    try:
        message = text_format.Parse(text, _message())
    except (text_format.ParseError, RecursionError, ValueError) as error:
        raise InputError(f"This is no model configuration of Triton: {_sentence(error)}") from error
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def _message() -> Any:
    try:
        return import_module(_MODULE).ModelConfig()
    except ImportError as error:
        raise MachineError(
            "Triton's schema of config.pbtxt comes with tritonclient, which is not installed: "
            f"pip install 'quantlab[triton]' ({error})."
        ) from error


def _sentence(error: BaseException) -> str:
    return f"{str(error).strip().splitlines()[0].rstrip('.') if str(error).strip() else type(error).__name__}."
