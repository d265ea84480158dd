"""One threshold method a file."""
