"""What a file's bytes are known by, in manifests and in what names another file."""

import hashlib
from pathlib import Path

from quantlab.errors import InputError


def file_digest(path: Path) -> str:
    """Return «sha256:…» of a file's bytes.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise InputError(f"'{path}' is not a regular file.")
        with path.open("rb") as file:
            state = hashlib.sha256()
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    return f"sha256:{state.hexdigest()}"
