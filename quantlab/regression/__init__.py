"""Whether one run is worse than another: paired statistics, limits, and a verdict in words."""
