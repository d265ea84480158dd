"""Pure: histograms in, scale tables out."""
