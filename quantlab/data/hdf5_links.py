"""The datasets of an HDF5 file, having made sure that none of them lies in another file."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import h5py

from quantlab.errors import InputError

_LARGEST_CHUNK = 1 << 28  # bytes
_LZF = 32000  # h5py's own
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    _LZF,
}


def datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Return every dataset by its key («group/name»), in sorted order.

    Raises
    ------
    InputError
        When a link leads into another file or nowhere, or a dataset keeps its values in one.
    """
    found: dict[str, h5py.Dataset] = {}
    soft: dict[str, str] = {}
    for key, item in _walk(file, "", path, set()):
        if isinstance(item, h5py.SoftLink):
            soft[key] = item.path
        else:
            found[key] = item
    # Only now: with no external link anywhere, a soft link cannot leave the file.
    for key, target in soft.items():
        try:
            item = file[key]
        except KeyError as error:
            raise InputError(f"The link «{key}» in {path} leads nowhere («{target}»).") from error
        if isinstance(item, h5py.Dataset):
            found[key] = item
    for key, dataset in found.items():
        _check_storage(key, dataset, path)
        _check_sources(key, dataset, found, path)
    return dict(sorted(found.items()))


def _walk(
    group: h5py.Group, prefix: str, path: Path, visited: set[int]
) -> Iterator[tuple[str, h5py.Dataset | h5py.SoftLink]]:
    """Yield the datasets and soft links below a group; `visited` holds the addresses of the groups seen."""
    visited.add(h5py.h5o.get_info(group.id).addr)
    for name in group:
        key = f"{prefix}{name}"
        link = _link(group, name, key, path)
        item = link if isinstance(link, h5py.SoftLink) else group[name]
        if isinstance(item, (h5py.SoftLink, h5py.Dataset)):
            yield key, item
        elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr not in visited:
            yield from _walk(item, f"{key}/", path, visited)


def _link(group: h5py.Group, name: str, key: str, path: Path) -> object:
    try:
        link = group.get(name, getlink=True)
    except TypeError as error:
        raise InputError(f"«{key}» in {path} is a link of an unknown kind.") from error
    if isinstance(link, h5py.ExternalLink):
        raise InputError(f"«{key}» in {path} is a link into another file ({link.filename}), which is not followed.")
    return link


def _check_sources(key: str, dataset: h5py.Dataset, found: dict[str, h5py.Dataset], path: Path) -> None:
    """Refuse a view of what is no plain dataset: HDF5 ends the process on one that views itself."""
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        viewed = found.get(source.dset_name.strip("/"))
        if viewed is None or viewed.is_virtual:
            raise InputError(
                f"«{key}» in {path} is a view of «{source.dset_name}», which is no plain dataset: copy it in."
            )


def _check_storage(key: str, dataset: h5py.Dataset, path: Path) -> None:
    if dataset.external:
        raise InputError(
            f"«{key}» in {path} keeps its values in another file ({dataset.external[0][0]}): copy them in."
        )
    outside = (
        [source.file_name for source in dataset.virtual_sources() if source.file_name != "."]
        if dataset.is_virtual
        else []
    )
    if outside:
        raise InputError(f"«{key}» in {path} takes its values from another file ({outside[0]}): copy them in.")
    packing = dataset.id.get_create_plist()
    if {packing.get_filter(index)[0] for index in range(packing.get_nfilters())} - _FILTERS:
        raise InputError(f"«{key}» in {path} is packed by a plug-in, which is not loaded: store it with gzip or lzf.")
    if dataset.chunks and prod(dataset.chunks) * dataset.dtype.itemsize > _LARGEST_CHUNK:
        raise InputError(
            f"«{key}» in {path} is stored in chunks of {dataset.chunks}, too large to be unpacked at once."
        )
    if dataset.shape is None:
        raise InputError(f"«{key}» in {path} is empty.")
