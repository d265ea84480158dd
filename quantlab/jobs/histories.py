"""Adds runs to a history, and draws and lists what is there."""

import os
from datetime import datetime, timezone
from pathlib import Path

from quantlab.calibration.provenance import Provenance
from quantlab.errors import InputError
from quantlab.jobs import places
from quantlab.jobs.comparing import read_comparison
from quantlab.jobs.manifest import file_digest, recorded
from quantlab.jobs.run_place import RunPlace
from quantlab.storage.run_history import add_record
from quantlab.storage.run_record import RunRecord, Verdict
from quantlab.storage.scale_table_json import read_scale_table

DEFAULT = Path("reports/history")


def remember(
    run: Path,
    history: Path = DEFAULT,
    *,
    label: str = "",
    verdict: Verdict = "",
    against: str = "",
) -> tuple[RunRecord, bool]:
    """Append a run to a history, and return its record, and whether it is new there.

    Parameters
    ----------
    run
        A run folder, or a comparison's file.
    label
        What tells the run apart, for instance a commit; the same run with another label is another line.
    verdict, against
        What a regression test said of it, and the name of the run that it was held against.

    Raises
    ------
    QuantlabError
        InputError for a run or a history that cannot be read; MachineError where the history cannot be written.
    """
    return add_record(history, record_of(run, history, label=label, verdict=verdict, against=against))


def record_of(
    run: Path, history: Path = DEFAULT, *, label: str = "", verdict: Verdict = "", against: str = ""
) -> RunRecord:
    """Return what a history keeps of a run.

    Raises
    ------
    InputError
        When the run cannot be read.
    """
    place = RunPlace.of(run)
    found = read_comparison(place.comparison)
    made_by = _provenance(place)
    main = found.metrics[0] if found.metrics else None
    sizes, latency = found.sizes, found.latency
    return RunRecord(
        name=place.name,
        label=label,
        added=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        place=_beside(place.home, history),
        digest=file_digest(place.comparison),
        model=made_by.model if made_by else "",
        model_name=made_by.model_name if made_by else "",
        data=found.data.digest,
        data_name=found.data.name,
        samples=found.samples,
        method=place.method,
        backend=found.backends.int8,
        metric=main.name if main else "",
        unit=main.unit if main else "",
        fp32=main.fp32 if main else None,
        int8=main.int8 if main else None,
        drop=main.drop if main else None,
        low=main.interval.low if main else None,
        high=main.interval.high if main else None,
        agreement=found.agreement.score if found.agreement.samples else None,
        sqnr_db=min((error.sqnr_db for error in found.outputs), default=None),
        fp32_bytes=sizes.fp32 if sizes else None,
        int8_bytes=sizes.int8 if sizes else None,
        fp32_ms=latency.fp32_ms if latency else None,
        int8_ms=latency.int8_ms if latency else None,
        verdict=verdict,
        against=against,
        versions=_versions(place),
    )


def _provenance(place: RunPlace) -> Provenance | None:
    scales = None if place.folder is None else place.folder / places.SCALES
    return read_scale_table(scales).provenance if scales is not None and scales.is_file() else None


def _versions(place: RunPlace) -> dict[str, str]:
    """Return what ran the comparison, as its folder's manifest tells."""
    try:
        entry = recorded(place.comparison)
    except InputError:
        return {}  # another program's manifest beside a comparison alone says nothing of it
    return dict(entry.versions) if entry else {}


def _beside(folder: Path, history: Path) -> str:
    """Return a folder as seen from the history, so that both may move together."""
    try:
        return Path(os.path.relpath(folder, history.absolute())).as_posix()
    except ValueError:  # on another drive
        return folder.as_posix()
