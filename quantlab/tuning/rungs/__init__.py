"""The rungs of the ladder, one a file: `climb(ladder)` tries what the rung knows."""
