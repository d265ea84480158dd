"""Numbers of a verdict as people say them."""

from math import floor, log10

from quantlab.comparison.statistics import Interval


def amount(value: float, unit: str) -> str:
    """Return a difference: «1.25 points», «0.0123»."""
    return f"{value:.2f} {'point' if value == 1 else 'points'}" if unit == "points" else f"{value:.3g}"


def spread(interval: Interval, unit: str) -> str:
    """Return an interval with its level: «90 % interval −0.20 … 0.41»."""
    low, high = (f"{end:.2f}" if unit == "points" else f"{end:.3g}" for end in (interval.low, interval.high))
    return f"{interval.level * 100:g} % interval {low} … {high}".replace("-", "−")


def chance(p_value: float) -> str:
    """Return a p-value: «p = 0.012»; tiny ones as a bound."""
    told = p_text(p_value)
    return f"p {told}" if told.startswith("<") else f"p = {told}"


def p_text(p_value: float) -> str:
    """Return a p-value without its name: «0.012», «< 0.0001»."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}" if p_value < 0.1 else f"{p_value:.2f}"


def rounded(count: int) -> str:
    """Return a number of samples to two digits, rounded up: an expectation is no measurement, and fewer would not do."""
    step = 10 ** max(floor(log10(count)) - 1, 0) if count > 0 else 1
    return f"{-(-count // step) * step:,}"
