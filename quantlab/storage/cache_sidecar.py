"""What a calibration cache cannot say itself: `<cache>.json` beside it, with its digest and where it comes from."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantlab.calibration.provenance import Provenance
from quantlab.storage.json_documents import read_document
from quantlab.storage.text import StrPath, located, write_text

SCHEMA = "quantlab-calibration-cache"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Digest of the cache, «sha256:…», and model, data and versions behind it."""

    cache: str
    provenance: Provenance


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_name: Literal["quantlab-calibration-cache"] = Field(alias="schema")
    version: Literal[1]
    cache: str
    provenance: dict[str, Any]


def sidecar_path(cache: StrPath) -> Path:
    """Return the sidecar's path: the cache's with «.json» appended."""
    path = Path(cache)
    return path.with_name(f"{path.name}.json")


def cache_digest(text: str) -> str:
    """Return the digest of a cache's bytes."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def write_sidecar(cache: StrPath, text: str, provenance: Provenance) -> None:
    """Write the sidecar of a cache whose text is given.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    fields = {
        "schema": SCHEMA,
        "version": VERSION,
        "cache": cache_digest(text),
        "provenance": provenance.to_json(),
    }
    write_text(sidecar_path(cache), json.dumps(fields, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_sidecar(cache: StrPath) -> Sidecar | None:
    """Return the sidecar of a cache, None if it has none.

    Raises
    ------
    InputError
        When the sidecar is damaged, foreign or of a newer version.
    """
    path = sidecar_path(cache)
    if not path.exists():
        return None
    document = read_document(path, _Document, schema=SCHEMA, version=VERSION, what="a cache's sidecar")
    with located(f"'{path}'"):
        return Sidecar(document.cache, Provenance.from_json(document.provenance))
