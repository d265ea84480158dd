"""A job's part that says how many workers share out the samples, and what they are."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from quantlab.errors import UsageError
from quantlab.jobs.data_section import Section
from quantlab.workers.declared import Workers


class WorkersSection(Section):
    """Workers that count and compare; however many there are, the artefacts have the same bytes.

    Attributes
    ----------
    count
        How many.
    kind
        processes of this machine, or ray.
    address
        Of a Ray cluster; None starts Ray on this machine.
    threads
        Of each worker; None shares the cores out.
    timeout
        Seconds for one piece of work, after which its worker is ended and the piece done once more.
    allow_mixed
        Let workers count together whose processors or versions differ.
    """

    count: int = Field(ge=1, le=10_000)
    kind: Literal["processes", "ray"] = "processes"
    address: str | None = None
    threads: int | None = Field(None, ge=1, le=10_000)
    timeout: float | None = Field(None, gt=0, allow_inf_nan=False)
    allow_mixed: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            self.declared  # noqa: B018 - it raises for what does not go together
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def declared(self) -> Workers:
        """The workers that `collect_histograms` and `compare_models` take."""
        return Workers(
            workers=self.count,
            kind=self.kind,
            address=self.address,
            threads=self.threads,
            timeout=self.timeout,
            allow_mixed=self.allow_mixed,
        )


def _section(value: Any) -> Any:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


WorkersEntry = Annotated[WorkersSection, BeforeValidator(_section)]
"""Workers, or their number alone."""
