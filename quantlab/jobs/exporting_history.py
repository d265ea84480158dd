"""Copies a history's runs into an MLflow store: metrics, parameters, tags and the report."""

import math
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from quantlab.errors import InputError, MachineError
from quantlab.jobs import places
from quantlab.storage.run_record import History, RunRecord

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "quantlab"
_DIGEST, _LABEL = "quantlab.digest", "quantlab.label"
_NUMBERS = {
    "samples": "samples",
    "score_fp32": "fp32",
    "score_int8": "int8",
    "drop": "drop",
    "drop_low": "low",
    "drop_high": "high",
    "agreement": "agreement",
    "output_sqnr_db": "sqnr_db",
    "fp32_bytes": "fp32_bytes",
    "int8_bytes": "int8_bytes",
    "fp32_ms": "fp32_ms",
    "int8_ms": "int8_ms",
}
_PARAMETERS = ("model_name", "model", "data_name", "data", "method", "backend", "metric", "unit")
_ARTIFACTS = (places.REPORT, places.COMPARISON)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 250
_PAGE = 1000


def export_to_mlflow(history: History, uri: str, experiment: str = EXPERIMENT) -> tuple[RunRecord, ...]:
    """Write the runs that an MLflow experiment lacks, and return these.

    An MLflow run has the record's figures as metrics, its names and versions as parameters, digest, label and verdict
    as tags, and the run's report and comparison as artifacts, as far as they are still there. A figure that is
    infinite is left out: not every store holds it.

    Parameters
    ----------
    uri
        MLflow's tracking URI, or the path of a folder.
    experiment
        Made if there is none of this name.

    Raises
    ------
    InputError
        For an empty URI or experiment.
    MachineError
        Without mlflow, or when the store cannot be reached or written.
    """
    if not uri.strip() or not experiment.strip():
        raise InputError("MLflow needs a tracking URI and the name of an experiment: neither may be empty.")
    failure, client = _client(uri)
    try:
        place = _experiment(client, experiment)
        known = set(_known(client, place))
        wanted = tuple(run for run in history.runs if (run.digest, run.label) not in known)
        for run in wanted:
            _write(client, place, run, history.folder)
    except (failure, OSError) as error:
        raise MachineError(f"MLflow at «{_public(uri)}» refuses: {_first_line(error, uri)}.") from error
    return wanted


def _client(uri: str) -> "tuple[type[Exception], MlflowClient]":
    """Return what MLflow raises, and a client."""
    # MLflow reports its use to its makers unless told not to, and keeps no store in files unless told that one is meant.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
    )  # by its own default a dead server is waited for four minutes
    address = _address(uri)
    if address.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MachineError(
            "Exporting a history needs MLflow, which is not installed: pip install 'quantlab[mlflow]'."
        ) from error
    try:
        return MlflowException, MlflowClient(tracking_uri=address)
    except ImportError as error:
        raise MachineError(f"MLflow lacks a package for «{_public(uri)}»: {_first_line(error, uri)}.") from error
    except MlflowException as error:
        raise MachineError(
            f"MLflow cannot open «{_public(uri)}»: {_first_line(error, uri)}. A database needs the package mlflow; "
            "mlflow-skinny has servers and folders."
        ) from error


def _address(uri: str) -> str:
    """Return the URI of a folder that was given as a path."""
    return uri if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", uri) or uri == "databricks" else Path(uri).absolute().as_uri()


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


def _known(client: "MlflowClient", experiment: str) -> Iterator[tuple[str, str]]:
    """Yield digest and label of the runs that were written whole."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        for run in page:
            if _DIGEST in run.data.tags:
                yield run.data.tags[_DIGEST], run.data.tags.get(_LABEL, "")
        token = page.token
        if not token:
            return


def _write(client: "MlflowClient", experiment: str, run: RunRecord, history: Path) -> None:
    started = _milliseconds(run.added)
    made = client.create_run(experiment, start_time=started, run_name=run.name[:_LONGEST] or None)
    number = made.info.run_id
    for name, source in _NUMBERS.items():
        value: float | None = getattr(run, source)
        if value is not None and math.isfinite(value):
            client.log_metric(number, name, float(value), timestamp=started)
    for name, text in _parameters(run).items():
        client.log_param(number, name, text[:_LONGEST])
    folder = history / run.place
    for name in _ARTIFACTS:
        if run.place and (folder / name).is_file():
            client.log_artifact(number, str(folder / name))
    tags = {_LABEL: run.label, "quantlab.verdict": run.verdict, "quantlab.against": run.against}
    for name, text in (tags | {_DIGEST: run.digest}).items():  # the digest last: it says that the run is whole
        if text:
            client.set_tag(number, name, text[:_LONGEST])
    client.set_terminated(number, end_time=started)


def _parameters(run: RunRecord) -> dict[str, str]:
    found = {name: getattr(run, name) for name in _PARAMETERS}
    versions = {f"version.{_UNSAFE.sub('_', name)[:100]}": text for name, text in run.versions.items()}
    return {name: text for name, text in (found | versions).items() if text}


def _milliseconds(added: str) -> int | None:
    try:
        return int(datetime.fromisoformat(added).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _public(uri: str) -> str:
    """Return the URI without a password in it."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "the URI given"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _first_line(error: BaseException, uri: str) -> str:
    line: Any = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return str(line).replace(uri, _public(uri)).rstrip(".")
