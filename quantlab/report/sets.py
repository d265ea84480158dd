"""Which sets of samples a run used and for what, and where its scales come from."""

from quantlab.calibration.provenance import DataIdentity, Provenance
from quantlab.errors import InputError
from quantlab.report.report_data import DataRow
from quantlab.report.run_parts import RunParts


def sets_of(parts: RunParts) -> tuple[DataRow, ...]:
    """Return every set once, with all that it was used for."""
    uses: dict[str, tuple[DataIdentity, dict[str, None]]] = {}

    def note(identity: DataIdentity, use: str) -> None:
        uses.setdefault(identity.digest, (identity, {}))[1][use] = None

    for identity in parts.histograms.provenance.chosen_on if parts.histograms else ():
        note(identity, "calibrated the scales")
    counted = set(uses)
    for comparison in parts.tuning.values():
        note(comparison.data, "compared the methods")
    tuned = set(uses)
    for identity in _chosen_on(parts):
        if identity.digest not in counted:
            note(identity, "chose one of them" if identity.digest in tuned else "had a say in the scales")
    for scored in filter(None, (parts.final, parts.ort)):
        note(scored.data, "scored the result")
    return tuple(DataRow(identity, ", ".join(listed)) for identity, listed in uses.values())


def _chosen_on(parts: RunParts) -> tuple[DataIdentity, ...]:
    tables = [table.provenance.chosen_on for table in parts.tables.values() if table.provenance]
    scored = [parts.final.chosen_on] if parts.final else []
    return tuple(dict.fromkeys(identity for several in [*tables, *scored] for identity in several))


def provenance_of(parts: RunParts) -> Provenance | None:
    """Return the scales' own provenance, or the histograms'."""
    found = [table.provenance for table in parts.tables.values() if table.provenance]
    found += [parts.histograms.provenance] if parts.histograms else []
    models = {one.model for one in found}
    if len(models) > 1:
        raise InputError(
            f"The parts of this run are of {len(models)} models ({', '.join(sorted({p.model_name for p in found}))}): "
            "give those of one run."
        )
    chosen = parts.tables.get(parts.chosen) if parts.chosen else None
    return (chosen.provenance if chosen else None) or (found[0] if found else None)
