"""Pure numpy: histograms, affine quantization, divergences and error sums."""
