"""Batches in: images, arrays, any iterable, a Python file, random numbers; each with an identity."""

from quantlab.data.arrays import arrays
from quantlab.data.batch import Batch, Dataset
from quantlab.data.images import images
from quantlab.data.preprocess import Preprocess
from quantlab.data.random import random_data
from quantlab.data.script import script
from quantlab.data.stream import stream

__all__ = ["Batch", "Dataset", "Preprocess", "arrays", "images", "random_data", "script", "stream"]
