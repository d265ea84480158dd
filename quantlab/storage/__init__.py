"""Files that quantlab writes and reads back: histograms, scale tables, calibration caches."""
