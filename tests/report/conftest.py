"""Fixtures of the tests that open a page in a browser."""

from tests.report.browser import chromium, visits

__all__ = ["chromium", "visits"]
