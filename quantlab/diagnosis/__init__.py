"""Why calibration or INT8 went wrong: who set the ranges, whether the data suffice and fit, and where flipped samples break."""
