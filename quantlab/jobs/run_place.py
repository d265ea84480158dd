"""Where a run is: a run folder of `quantlab run`, or a comparison's file alone."""

from dataclasses import dataclass
from pathlib import Path

from quantlab.errors import InputError
from quantlab.jobs import places
from quantlab.report.run_folder import RunNotes, read_notes


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run's files.

    Attributes
    ----------
    comparison
        The comparison's .json file.
    folder
        The run folder; None for a comparison alone.
    """

    comparison: Path
    folder: Path | None

    @classmethod
    def of(cls, path: Path) -> "RunPlace":
        """Return the place of a run that a user named.

        Raises
        ------
        InputError
            When there is no such file or folder, or no comparison in the folder.
        """
        if path.is_dir():
            comparison = path / places.COMPARISON
            if not comparison.is_file():
                raise InputError(
                    f"The folder '{path}' holds no {places.COMPARISON}, so there is no score in it: give the output of "
                    "`quantlab run` for a job with `data.evaluation`, or the .json file of `quantlab compare`."
                )
            return cls(comparison, path)
        if not path.exists():
            raise InputError(
                f"There is no run '{path}': give the output folder of `quantlab run`, or the .json file of "
                "`quantlab compare`."
            )
        return cls(path, None)

    @property
    def home(self) -> Path:
        """The folder that holds the comparison."""
        return self.comparison.absolute().parent

    @property
    def notes(self) -> RunNotes:
        """What `run.json` tells; empty notes without one."""
        return RunNotes() if self.folder is None else read_notes(self.folder)

    @property
    def name(self) -> str:
        """What to call the run: its job's name, else its file's or folder's."""
        if self.folder is None:
            return self.comparison.stem
        return self.notes.title or self.folder.absolute().name

    @property
    def method(self) -> str:
        """The calibration method as people write it; empty if nothing tells."""
        notes = self.notes
        return notes.methods.get(notes.chosen, notes.chosen) if notes.chosen else ""
