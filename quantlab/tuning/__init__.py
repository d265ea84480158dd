"""Corrections that a trained network gets after calibration: biases, rounding of weights, scales of activations."""
