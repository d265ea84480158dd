"""Step: histograms and a method in, a scale table out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantlab.calibration.calibrate import calibrate
from quantlab.calibration.methods.names import parse_method
from quantlab.calibration.overrides import Overrides
from quantlab.calibration.provenance import DataIdentity
from quantlab.calibration.rules import Rule
from quantlab.calibration.scale_table import ScaleTable
from quantlab.calibration.schemes import Affine, Scheme, Symmetric
from quantlab.errors import UsageError
from quantlab.jobs import remarks
from quantlab.jobs.manifest import Recipe, file_digest
from quantlab.jobs.step import Made, Remake, carry_out, check_output
from quantlab.storage.histograms_h5 import read_histograms
from quantlab.storage.overrides_yaml import read_overrides
from quantlab.storage.scale_table_csv import write_scale_table_csv
from quantlab.storage.scale_table_json import read_scale_table, write_scale_table
from quantlab.versions import versions

SCHEMES: Mapping[str, Scheme] = {
    "symmetric": Symmetric(),
    "symmetric-uint8": Symmetric("uint8"),
    "affine-uint8": Affine("uint8"),
    "affine-int8": Affine("int8"),
}


@dataclass(frozen=True, slots=True)
class Calibrating:
    """Which method makes which file.

    Attributes
    ----------
    histograms, output
        The .h5 file and the .json file.
    method, scheme
        As people write them: «percentile:99.99», «affine-uint8».
    rules
        (name pattern, method), for tensors that need another method; the first that matches wins.
    overrides
        A YAML file with ranges set by hand, which go before every rule; None: there is none.
    """

    histograms: Path
    output: Path
    method: str = "squared-error"
    scheme: str = "symmetric"
    rules: tuple[tuple[str, str], ...] = ()
    overrides: Path | None = None


def calibrate_scales(what: Calibrating, *, remake: Remake = "never") -> Made:
    """Write the scale table, unless it is current.

    Raises
    ------
    QuantlabError
        UsageError for an unknown method or scheme, InputError for histograms that cannot be used, StaleError as
        `carry_out` tells.
    """
    check_output(what.output, (".json",), what.histograms)
    method, scheme = parse_method(what.method), parse_scheme(what.scheme)
    rules = tuple(Rule(pattern, method=parse_method(text)) for pattern, text in what.rules)
    overrides = Overrides() if what.overrides is None else read_overrides(what.overrides)

    def recipe() -> Recipe:
        options = {"method": repr(method), "scheme": what.scheme, "rules": [[r.pattern, repr(r.method)] for r in rules]}
        by_hand = {} if what.overrides is None else {"overrides": file_digest(what.overrides)}
        return Recipe("calibrate", {"histograms": file_digest(what.histograms), **by_hand}, options)

    def make() -> Mapping[str, str]:
        histograms = read_histograms(what.histograms)
        by_hand = overrides.rules(histograms)
        table = calibrate(histograms, method, scheme=scheme, rules=(*by_hand, *rules))
        write_scale_table(what.output, table)
        return versions()

    fresh = carry_out(what.output, recipe, make, remake=remake)
    return Made(what.output, fresh, remarks.on_table(read_scale_table(what.output)))


def choose_scales(
    scales: Path, output: Path, method: str, deciders: tuple[DataIdentity, ...], *, remake: Remake = "never"
) -> Made:
    """Write the chosen table under its own name; `deciders` are the sets that chose it, besides those it was made from.

    Raises
    ------
    QuantlabError
        As `calibrate_scales`.
    """

    def recipe() -> Recipe:
        judges = {f"data «{data.name}»": data.digest for data in deciders}
        return Recipe("choose", {"scales": file_digest(scales), **judges}, {"method": method})

    def make() -> Mapping[str, str]:
        write_scale_table(output, _chosen_on(read_scale_table(scales), deciders))
        return versions()

    return Made(output, carry_out(output, recipe, make, remake=remake))


def export_csv(scales: Path, output: Path, *, remake: Remake = "never") -> Made:
    """Write a scale table's rows as CSV, unless that file is current.

    Raises
    ------
    QuantlabError
        As `calibrate_scales`.
    """

    def make() -> Mapping[str, str]:
        write_scale_table_csv(output, read_scale_table(scales))
        return versions()

    return Made(output, carry_out(output, lambda: Recipe("csv", {"scales": file_digest(scales)}), make, remake=remake))


def parse_scheme(text: str) -> Scheme:
    """Return the scheme of this name.

    Raises
    ------
    UsageError
        For an unknown one; the valid ones are listed.
    """
    if text not in SCHEMES:
        raise UsageError(f"Unknown scheme «{text}»; the known ones are {', '.join(SCHEMES)}.")
    return SCHEMES[text]


def _chosen_on(table: ScaleTable, deciders: tuple[DataIdentity, ...]) -> ScaleTable:
    if table.provenance is None:
        return table
    known = {data.digest for data in table.provenance.chosen_on}
    more = tuple(data for data in deciders if data.digest not in known)
    return replace(table, provenance=replace(table.provenance, chosen_on=(*table.provenance.chosen_on, *more)))
