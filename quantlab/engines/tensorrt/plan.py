"""A built plan, and its files: `m.plan`, which every TensorRT tool reads, and beside it `m.plan.json`, its card."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from quantlab.atomic import atomic_path
from quantlab.engines.tensorrt.card import PlanCard
from quantlab.errors import InputError, StaleError

StrPath: TypeAlias = str | os.PathLike[str]

LARGEST_CARD = 1 << 26
"""Bytes of the largest card that is read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What TensorRT built.

    Attributes
    ----------
    data
        The serialized engine.
    card
        Where it comes from and where it runs.
    layers
        TensorRT's engine inspector about it, as JSON text; empty where no GPU could tell.
    cache
        The calibration cache that TensorRT wrote, if it calibrated.
    """

    data: bytes = field(repr=False)
    card: PlanCard
    layers: str = field(default="", repr=False)
    cache: str = field(default="", repr=False)

    def save(self, path: StrPath) -> None:
        """Write the plan, its card and what the inspector says of it; see `write_plan`."""
        write_plan(path, self)

    def _repr_html_(self) -> str:
        from html import escape

        card = self.card
        what = f"{card.library} {card.version}, {card.device or 'no GPU'}, {' + '.join(card.precision)}"
        return f"<b>Plan</b> of «{escape(card.model_name)}»: {card.size:,} bytes, {escape(what)}"


def digest_of(data: bytes) -> str:
    """Return the digest that a card gives of its plan."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def card_path(plan: StrPath) -> Path:
    """Return the card's path: the plan's with «.json» appended."""
    path = Path(plan)
    return path.with_name(f"{path.name}.json")


def layers_path(plan: StrPath) -> Path:
    """Return where the inspector's text goes: the plan's path with «.layers.json» appended."""
    path = Path(plan)
    return path.with_name(f"{path.name}.layers.json")


def write_plan(path: StrPath, plan: Plan) -> None:
    """Write a plan, its card and what the inspector says of it.

    Raises
    ------
    MachineError
        No space, no permission.
    """
    # The plan first: until the card follows, the old card's digest says that it is not this plan's.
    with atomic_path(path) as temporary:
        temporary.write_bytes(plan.data)
    with atomic_path(card_path(path)) as temporary:
        text = json.dumps(plan.card.to_json(), ensure_ascii=False, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")
    if plan.layers:
        with atomic_path(layers_path(path)) as temporary:
            temporary.write_bytes(plan.layers.encode())
    else:
        layers_path(path).unlink(missing_ok=True)


def read_plan(path: StrPath) -> Plan:
    """Return a plan with its card.

    Raises
    ------
    InputError
        When a file is missing or damaged. A plan that quantlab did not build has no card and is refused: TensorRT runs
        what a plan says unchecked, so a plan from a stranger is a program from a stranger.
    StaleError
        When the plan, or what the inspector said of it, changed after the card was written.
    """
    source, beside = Path(path), card_path(path)
    if not source.is_file():
        raise InputError(f"There is no file '{source}': give the path of a plan.")
    if not beside.is_file():
        raise InputError(
            f"'{source}' has no card '{beside.name}' beside it, so nothing says which TensorRT, GPU and model it is for: "
            "build it with `quantlab build`, and copy both files."
        )
    data, card = _bound(source, beside)
    layers = layers_path(path)
    found = layers.read_bytes() if layers.is_file() else b""
    if found:
        _check_report(found, card, layers)
    return Plan(data, card, found.decode("utf-8", errors="replace"))


def check_layers(plan: StrPath, layers: Path, text: str) -> None:
    """Refuse a report of the engine inspector that is not this plan's; a plan without a card says nothing of it.

    Raises
    ------
    InputError
        When the card is damaged.
    StaleError
        When the plan or the report changed after the card was written.
    """
    if card_path(plan).is_file():
        _, card = _bound(Path(plan), card_path(plan))
        _check_report(text.encode(), card, layers)


def _bound(plan: Path, beside: Path) -> tuple[bytes, PlanCard]:
    """Return a plan's bytes and the card that is theirs."""
    try:
        card = PlanCard.from_json(_document(beside))
    except InputError as error:
        raise InputError(f"'{beside}' is no card of a plan: {str(error).rstrip('.')}. Build the plan again.") from error
    data = plan.read_bytes()
    if digest_of(data) != card.digest:
        raise StaleError(f"'{plan}' is not the plan that '{beside.name}' was written for: build it again.")
    return data, card


def _check_report(found: bytes, card: PlanCard, path: Path) -> None:
    if digest_of(found) != card.layers_digest:
        raise StaleError(
            f"'{path}' is not what TensorRT's engine inspector said of the plan beside it: delete it, or build the plan again."
        )


def _document(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise InputError("it is too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"it cannot be read: {error}") from error
