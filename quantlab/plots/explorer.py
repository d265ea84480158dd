"""The threshold explorer in Jupyter: widgets about an `Exploration`; what is kept goes into a file that the CLI reads."""

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from importlib import import_module
from io import BytesIO
from math import isfinite, isinf
from pathlib import Path
from typing import Any

from quantlab.calibration.methods.entropy import Entropy
from quantlab.calibration.methods.minmax import MinMax
from quantlab.calibration.methods.percentile import Percentile
from quantlab.calibration.methods.squared_error import SquaredError
from quantlab.calibration.ranges import Range
from quantlab.calibration.scale_table import ScaleTable
from quantlab.comparison.comparison import Comparison
from quantlab.comparison.lineup import Lineup
from quantlab.errors import MachineError, QuantlabError
from quantlab.numerics.arrays import F64
from quantlab.plots.candidates import curve_of, draw_curve
from quantlab.plots.effect import Effect
from quantlab.plots.exploration import Exploration
from quantlab.plots.thresholds import histogram
from quantlab.storage.overrides_yaml import change_overrides, read_overrides
from quantlab.storage.text import StrPath

METHODS: Mapping[str, Any] = {
    "min-max": MinMax(),
    "99.99 %": Percentile(99.99),
    "99.9 %": Percentile(99.9),
    "entropy": Entropy(),
    "squared error": SquaredError(),
}


def explore(
    histograms: Mapping[str, Any],
    table: ScaleTable | None = None,
    *,
    overrides: StrPath = "overrides.yaml",
    effect: Effect | Callable[[ScaleTable], Any] | None = None,
    tensor: str | None = None,
) -> "Explorer":
    """Return a panel that moves one tensor's threshold and shows what it costs; the last line of a cell shows it.

    Parameters
    ----------
    histograms
        On the default grid, as `ql.collect` or `ql.load` return them.
    table
        Scales to start from; by default those of SquaredError.
    overrides
        The YAML file into which «keep» writes the range: `quantlab calibrate --overrides` and a job's `overrides` read it.
    effect
        What the «effect» button runs: `ql.Effect(model, data)`, or a function of a table, called with the table to start
        from and with the changed one.
    tensor
        Where to begin; by default the first one that has values.

    Raises
    ------
    MachineError
        When ipywidgets is not installed.
    UsageError
        When these are no histograms on the default grid, or there is no such tensor.
    InputError
        When no tensor has a finite value, or the file there is no overrides file.
    """
    return Explorer(Exploration.of(histograms, table, tensor), Path(overrides), effect)


class Explorer:
    """The panel; its widgets are attributes, and `state` is what they show.

    Attributes
    ----------
    state
        The exploration.
    tensors, spacing, slider, threshold
        Choose the tensor, the spacing of the candidates, one of them by number, or any threshold by value.
    methods
        A button a method, by name.
    keep, drop, measure
        Buttons: keep the range as an override, remove it, run the effect.
    facts, picture, message
        What the threshold costs, the drawing as PNG, and what the last button came to.
    box
        All of them.
    """

    def __init__(self, state: Exploration, overrides: Path, effect: Callable[[ScaleTable], Any] | None) -> None:
        """Build the widgets and show the first state."""
        self._widgets = _ipywidgets()
        self._overrides, self._effect = overrides, effect
        self._following = True
        self._curves: dict[str, tuple[F64, F64]] = {}
        if overrides.exists():
            read_overrides(overrides)
        self.state = state
        self._make()
        self._show()

    def _make(self) -> None:
        w = self._widgets
        wide = w.Layout(width="640px")
        self.tensors = w.Dropdown(
            options=list(self.state.histograms), value=self.state.tensor, description="tensor", layout=wide
        )
        self.spacing = w.ToggleButtons(options=["linear", "log"], value="linear", description="slider")
        self.spacing.style.button_width = "60px"
        self.slider = w.IntSlider(min=0, max=0, readout=False, description="threshold", layout=wide)
        self.threshold = w.FloatText(description="= ", step=0.0, layout=w.Layout(width="200px"))
        self.methods = {name: w.Button(description=name, layout=w.Layout(width="auto")) for name in METHODS}
        self.keep = w.Button(description="keep as override", button_style="primary", icon="save")
        self.drop = w.Button(description="remove override", icon="trash")
        self.measure = w.Button(description="effect at the output", icon="play", disabled=self._effect is None)
        self.facts, self.message = w.HTML(), w.HTML()
        self.picture = w.Image(format="png")
        buttons = w.HBox(list(self.methods.values()))
        acts = w.HBox([self.keep, self.drop, self.measure])
        aim = w.HBox([self.spacing, self.threshold])
        self.box = w.VBox([self.tensors, self.slider, aim, buttons, self.facts, self.picture, acts, self.message])
        self.tensors.observe(self._answer(lambda: self.state.on(self.tensors.value)), names="value")
        self.slider.observe(self._answer(self._by_slider), names="value")
        self.threshold.observe(self._answer(lambda: self.state.at(self.threshold.value)), names="value")
        self.spacing.observe(self._answer(lambda: self.state), names="value")
        for name, button in self.methods.items():
            button.on_click(self._answer(partial(self._by_method, METHODS[name])))
        self.keep.on_click(self._acting(self._keep))
        self.drop.on_click(self._acting(self._drop))
        self.measure.on_click(self._acting(self._measure))

    def _by_method(self, method: Any) -> Exploration:
        return self.state.by(method)

    def _by_slider(self) -> Exploration:
        return self.state.at(float(self.state.candidates(self.spacing.value)[self.slider.value]))

    def _answer(self, change: Callable[[], Exploration]) -> Callable[[Any], None]:
        """Return what a widget calls: it changes the state and shows it; an error is a sentence in the panel."""

        def answered(_event: Any) -> None:
            if not self._following:
                return
            before = self.state
            try:
                self.state = change()
                self._say("")
                self._show()
            except QuantlabError as error:
                self.state = before
                self._show()
                self._say(str(error), wrong=True)

        return answered

    def _acting(self, act: Callable[[], str]) -> Callable[[Any], None]:
        def acted(_event: Any) -> None:
            try:
                self.message.value = act()
            except QuantlabError as error:
                self._say(str(error), wrong=True)

        return acted

    def _show(self) -> None:
        """Bring every widget to the state, without being told of it by them."""
        self._following = False
        try:
            places = self.state.candidates(self.spacing.value)
            self.slider.max = len(places) - 1
            self.slider.value = self.state.nearest(self.spacing.value)
            self.slider.disabled = len(places) == 1
            self.threshold.value = float(f"{self.state.threshold:.9g}")
            self.tensors.value = self.state.tensor
        finally:
            self._following = True
        self.facts.value = self._facts()
        if self.state.tensor not in self._curves:
            self._curves[self.state.tensor] = curve_of(self.state.seen, "sqnr")
        self.picture.value = _drawn(self.state, self._curves[self.state.tensor])

    def _facts(self) -> str:
        cost, chosen = self.state.cost, self.state.range
        kept = read_overrides(self._overrides).of(self.state.tensor) if self._overrides.exists() else None
        cells = {
            "range": f"[{chosen.low:.5g}, {chosen.high:.5g}]",
            "step": f"{cost.step:.4g}",
            "clipped": f"{100 * cost.clipped:.4g} %",
            "expected SQNR": _db(cost.sqnr_db),
            "KL divergence": f"{cost.divergence:.4g} nats" if isfinite(cost.divergence) else "–",
            "override kept": "none" if kept is None else f"[{kept.range.low:.5g}, {kept.range.high:.5g}]",
        }
        head = "".join(f"<th>{escape(name)}</th>" for name in cells)
        body = "".join(f"<td>{escape(text)}</td>" for text in cells.values())
        return f"<table><tr>{head}</tr><tr>{body}</tr></table>"

    def _keep(self) -> str:
        entry = self.state.override
        change_overrides(self._overrides, lambda known: known.having(entry))
        self.facts.value = self._facts()
        low, high = entry.range.low, entry.range.high
        return _sentence(f"Kept in '{self._overrides}': «{entry.pattern}» covers [{low:.5g}, {high:.5g}].")

    def _drop(self) -> str:
        pattern = self.state.override.pattern
        if not self._overrides.exists() or read_overrides(self._overrides).of(self.state.tensor) is None:
            return _sentence(f"'{self._overrides}' has no override of «{self.state.tensor}».")
        left = change_overrides(self._overrides, lambda known: known.without(pattern)).of(self.state.tensor)
        self.facts.value = self._facts()
        more = "" if left is None else f" The pattern «{left.pattern}» still applies to it."
        return _sentence(f"Removed from '{self._overrides}': «{pattern}».{more}")

    def _measure(self) -> str:
        if self._effect is None:
            return _sentence("Give ql.explore(…, effect=ql.Effect(model, data)) to see the effect at the output.")
        self._say("Running …")
        before, after = self.state.tables()
        if isinstance(self._effect, Effect):
            return _beside(self._effect.beside({"before": before, "with this range": after}))
        return f"<p>before: {_found(self._effect(before))}</p><p>with this range: {_found(self._effect(after))}</p>"

    def _say(self, sentence: str, *, wrong: bool = False) -> None:
        self.message.value = _sentence(sentence, wrong=wrong) if sentence else ""

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)


def _ipywidgets() -> Any:
    try:
        return import_module("ipywidgets")
    except ImportError as error:
        raise MachineError(
            "The threshold explorer needs ipywidgets, which is not installed: pip install 'quantlab[notebooks]'."
        ) from error


def _drawn(state: Exploration, curve: tuple[F64, F64]) -> bytes:
    """Return the histogram, and below it the SQNR over every threshold, as PNG; pyplot's list of figures stays as it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.2), dpi=96)
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    figure.subplots_adjust(
        left=0.09, right=0.99, top=0.95, bottom=0.09, hspace=0.33
    )  # a layout engine takes as long as drawing
    chosen = Range(-state.threshold, state.threshold)
    histogram(state.seen, chosen, title=state.tensor, ax=above)
    draw_curve(below, state.seen, curve, (chosen,), "sqnr")
    stored = BytesIO()
    figure.savefig(stored, format="png")
    return stored.getvalue()


def _beside(found: Lineup) -> str:
    rows = []
    for entry in found.entries:
        seen = entry.comparison.agreement
        classes = f"{seen.agreed} of {seen.samples}" if seen.samples else "–"
        cells = "".join(
            f"<td>{escape(f'«{error.tensor}»: {_db(error.sqnr_db)}')}</td>" for error in entry.comparison.outputs
        )
        rows.append(f"<tr><th>{escape(entry.name)}</th>{cells}<td>the same class: {escape(classes)}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _found(value: Any) -> str:
    """Return what a user's own effect came to as text, or as its own HTML if it is one of quantlab's values."""
    return value._repr_html_() if isinstance(value, Comparison | Lineup) else escape(str(value))


def _db(value: float) -> str:
    return f"{value:.2f} dB" if isfinite(value) else "no error" if isinf(value) and value > 0 else "–"


def _sentence(text: str, *, wrong: bool = False) -> str:
    return f'<span style="color: #b00020">{escape(text)}</span>' if wrong else f"<span>{escape(text)}</span>"
