"""The files of a run that a bundle is made from, each as the run left it, and of one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import InputError, StaleError, UsageError
from quantlab.graph.model import load_model
from quantlab.jobs import places
from quantlab.jobs.job import EXPORTED
from quantlab.jobs.job_file import read_job
from quantlab.jobs.manifest import Entry, file_digest, recorded
from quantlab.report.run_folder import read_notes
from quantlab.storage.cache_sidecar import sidecar_path
from quantlab.storage.scale_table_json import read_scale_table


@dataclass(frozen=True, slots=True)
class DeployedRun:
    """A run.

    Attributes
    ----------
    folder
        Its output.
    name
        The job's name, or the folder's.
    float_model
        The job's model, if that was named.
    """

    folder: Path
    name: str
    float_model: Path | None

    @classmethod
    def of(cls, source: Path, model: Path | None) -> DeployedRun:
        """Return the run of a job's file or in a folder.

        Raises
        ------
        InputError
            When there is none.
        """
        if source.is_dir():
            return cls(source, read_notes(source).title or source.absolute().name, model)
        job = read_job(source)
        if not job.output.is_dir():
            raise InputError(
                f"The job '{source}' has not run: '{job.output}' is missing; `quantlab run {source}` makes it."
            )
        return cls(job.output, job.name, model or job.model)

    def with_cache(self) -> tuple[Path, Path, Path]:
        """Return float model, calibration cache and scale table.

        Raises
        ------
        QuantlabError
            StaleError for a file that was changed or belongs to an earlier run, InputError for one that is missing.
        """
        if not (self.folder / places.CACHE).exists():
            raise InputError(
                f"The run '{self.folder}' wrote no calibration cache: add `cache: {{}}` to the job, or deploy for TensorRT 11, "
                "which takes its Q/DQ model (--tensorrt 11.0)."
            )
        scales, cache = self._unchanged(places.SCALES), self._unchanged(places.CACHE)
        self._follows(places.CACHE, "scales", file_digest(scales))
        if sidecar_path(cache).exists():
            self._unchanged(sidecar_path(cache).name)
        made_for = self._entry(places.CACHE).recipe.inputs.get("model", "")
        model = self._model_of(made_for, _name_in(scales))
        return model, cache, scales

    def with_qdq(self) -> tuple[Path, None, Path]:
        """Return the Q/DQ model, no cache, and the scale table.

        Raises
        ------
        QuantlabError
            As `with_cache`.
        """
        return self._pair(places.MODEL, places.SCALES)[0], None, self.folder / places.SCALES

    def for_onnx_runtime(self) -> tuple[Path, Path]:
        """Return the model for ONNX Runtime's integer kernels and its scale table.

        Raises
        ------
        QuantlabError
            As `with_cache`; UsageError where the run made none.
        """
        if (self.folder / places.ORT_MODEL).exists():
            return self._pair(places.ORT_MODEL, places.ORT_SCALES)
        entry = self._entry(places.MODEL)
        if entry.recipe.options.get("target") != "ort":
            raise UsageError(
                f"The run '{self.folder}' made no model for ONNX Runtime: add `ort: true` to the job, or give a plan or a model."
            )
        return self._pair(places.MODEL, places.SCALES)

    def _pair(self, model: str, scales: str) -> tuple[Path, Path]:
        found = self._unchanged(model), self._unchanged(scales)
        self._follows(model, "scales", file_digest(found[1]))
        return found

    def _entry(self, name: str) -> Entry:
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"The run '{self.folder}' has no {name}: give the output folder of `quantlab run`.")
        entry = recorded(path)
        if entry is None:
            raise InputError(f"'{path}' is in no manifest, so nothing says where it comes from: run the job again.")
        return entry

    def _unchanged(self, name: str) -> Path:
        path = self.folder / name
        if self._entry(name).sha256 != file_digest(path):
            raise StaleError(
                f"'{path}' was changed after the run made it: run the job again (--force), or take that file alone."
            )
        return path

    def _follows(self, name: str, role: str, digest: str) -> None:
        if self._entry(name).recipe.inputs.get(role) != digest:
            raise StaleError(
                f"'{self.folder / name}' was made from other {role} than the run has now: run the job again."
            )

    def _model_of(self, digest: str, name: str) -> Path:
        """Return the float model of this digest: the one that is named, or one beside or in the folder."""
        if self.float_model is not None:
            found = load_model(self.float_model).digest
            if found != digest:
                raise StaleError(
                    f"'{self.float_model}' is {found[:19]}…, and the run was made from {digest[:19]}…: run the job again, or "
                    "give the model that it had."
                )
            return self.float_model
        for path in (self.folder / EXPORTED, self.folder / Path(name).name, self.folder.parent / Path(name).name):
            if path.is_file() and load_model(path).digest == digest:
                return path
        raise InputError(
            f"The run's float model «{name}» ({digest[:19]}…) is neither in nor beside '{self.folder}': give it with --model, or "
            "give the job's YAML file instead of the folder."
        )


def _name_in(scales: Path) -> str:
    provenance = read_scale_table(scales).provenance
    return provenance.model_name if provenance else "model.onnx"
