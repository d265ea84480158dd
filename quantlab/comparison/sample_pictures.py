"""Thumbnails of the samples on which INT8 differs."""

from quantlab.comparison.sample_table import MOST_PICTURES, SampleTable
from quantlab.data.pictures import Pictured, thumbnail


def add_pictures(table: SampleTable, data: object) -> SampleTable:
    """Return the table with thumbnails of the first 60 samples in `worst`, where the data have pictures of them.

    Parameters
    ----------
    table
        Of the data's latest pass.
    data
        A data set; one without pictures leaves the table without.
    """
    if not isinstance(data, Pictured):
        return table
    rows = table.worst()[:MOST_PICTURES]
    return table.with_pictures({row: thumbnail(picture) for row, picture in data.pictures(rows)})
