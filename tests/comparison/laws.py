"""How hypothesis runs the laws of this part."""

from hypothesis import settings

law = settings(max_examples=60, deadline=None)
"""The first example may compile a kernel, and a busy machine is slow: no deadline."""
