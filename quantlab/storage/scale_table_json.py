"""The scale table as JSON: every field of every row, exact, and a line a tensor."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantlab.calibration.provenance import Provenance
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import Role, Scale, ScaleTable
from quantlab.errors import InputError
from quantlab.numerics.affine import IntegerType
from quantlab.storage.float_text import float32_digits, json_float, nearest_float32
from quantlab.storage.json_documents import read_document
from quantlab.storage.text import StrPath, located, write_text

SCHEMA = "quantlab-scale-table"
VERSION = 1

_Number = float | Literal["nan", "inf", "-inf"] | None
_Bounds = Annotated[list[float], Field(min_length=2, max_length=2, fail_fast=True)] | None


class ScaleRow(BaseModel):
    """One tensor. All fields are due."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    tensor: str = Field(min_length=1, description="Name in the user's own model.")
    role: Role
    scale: list[float] = Field(min_length=1, fail_fast=True, description="Authoritative; read to the nearest float32.")
    scale_hex: list[Annotated[str, Field(pattern="^[0-9a-f]{8}$")]] = Field(
        fail_fast=True, description="The same float32 values, big-endian, as a TensorRT calibration cache has them."
    )
    zero_point: list[int] = Field(min_length=1, fail_fast=True)
    dtype: IntegerType
    scheme: Literal["symmetric", "affine"]
    axis: int | None = Field(description="The channels' axis; null for one scale.")
    shape: Annotated[list[int | str | None], Field(fail_fast=True)] | None = Field(
        description="A free dimension is a name or null."
    )
    observed: _Bounds = Field(description="Smallest and largest value seen; null if nobody recorded them.")
    chosen: _Bounds = Field(description="The range that the method chose; null if nobody recorded it.")
    method: str
    clipped: _Number = Field(description="Share, 0 … 1, of the values seen that the range cuts off; null if not known.")
    sqnr_db: _Number = Field(description='Expected signal-to-noise ratio in dB, "inf" for no noise; null if not known.')


class ScaleTableFile(BaseModel):
    """A quantlab scale table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_name: Literal["quantlab-scale-table"] = Field(alias="schema")
    version: Literal[1]
    cache_header: str | None = Field(description="First line of the calibration cache that the table was read from.")
    provenance: dict[str, Any] | None = Field(description="Model, data and versions behind the table.")
    rows: list[ScaleRow] = Field(
        fail_fast=True, description="In the order of the graph or of the cache; no two with the same tensor."
    )


def write_scale_table(path: StrPath, table: ScaleTable) -> None:
    """Write a table as `scale_table_schema` describes it; equal tables make equal bytes.

    Raises
    ------
    InputError
        When a name cannot be written as UTF-8.
    MachineError
        No space, no permission.
    """
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "cache_header": table.cache_header,
        "provenance": table.provenance.to_json() if table.provenance else None,
    }
    # Sorted within the provenance, where order says nothing; a row's fields keep the order of `_fields`.
    lines = [f' "{name}": {_text(value, sort_keys=True)},\n' for name, value in head.items()]
    rows = ",\n".join(f"  {_text(_fields(row))}" for row in table.rows)
    write_text(path, "{\n" + "".join(lines) + ' "rows": [\n' + rows + "\n ]\n}\n")


def read_scale_table(path: StrPath) -> ScaleTable:
    """Return the table in a file, each scale to the last bit.

    Raises
    ------
    InputError
        When the file is missing, damaged, foreign, of a newer version, or a field of a row is missing, unknown or
        cannot be: a scale of zero, a tensor twice, a scale other than its hex digits.
    """
    document = read_document(path, ScaleTableFile, schema=SCHEMA, version=VERSION, what="a scale table")
    with located(f"'{path}'"):
        provenance = None if document.provenance is None else Provenance.from_json(document.provenance)
        return ScaleTable(tuple(_scale(row) for row in document.rows), provenance, document.cache_header)


def scale_table_schema() -> dict[str, Any]:
    """Return the format as JSON Schema (2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ScaleTableFile.model_json_schema(by_alias=True),
    }


def _fields(row: Scale) -> dict[str, Any]:
    return {
        "tensor": row.tensor,
        "role": row.role,
        "scale": [float(value) for value in row.scale],
        "scale_hex": [float32_digits(value) for value in row.scale],
        "zero_point": [int(value) for value in row.zero_point],
        "dtype": row.dtype,
        "scheme": row.scheme,
        "axis": row.axis,
        "shape": None if row.shape is None else list(row.shape),
        "observed": _bounds(row.observed),
        "chosen": _bounds(row.chosen),
        "method": row.method,
        "clipped": json_float(row.clipped),
        "sqnr_db": json_float(row.sqnr_db),
    }


def _bounds(known: Range | None) -> list[float] | None:
    return None if known is None else [float(known.low), float(known.high)]


def _text(value: object, *, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)


def _scale(row: ScaleRow) -> Scale:
    scales = tuple(nearest_float32(value) for value in row.scale)
    if [float32_digits(value) for value in scales] != row.scale_hex:
        raise InputError(
            f"Tensor «{row.tensor}» has the scale {_some(row.scale)}, which is not its scale_hex {_some(row.scale_hex)}: "
            "the file was edited; change both or neither."
        )
    return Scale(
        row.tensor,
        scales,
        tuple(row.zero_point),
        row.dtype,
        row.scheme,
        row.axis,
        row.role,
        None if row.shape is None else tuple(row.shape),
        None if row.observed is None else Range(*row.observed),
        None if row.chosen is None else Range(*row.chosen),
        row.method,
        None if row.clipped is None else float(row.clipped),
        None if row.sqnr_db is None else float(row.sqnr_db),
    )


def _some(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values[:4]) + (" …" if len(values) > 4 else "")
