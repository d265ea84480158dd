"""Reads YAML that a stranger may have written: plain values only, no key twice, no anchors."""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode

from quantlab.errors import InputError

LARGEST = 256 * 1024


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself keeps the last of two equal keys, expands aliases without end and obeys tags."""

    def compose_node(self, parent: Any, index: int) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases are not read: write the value out",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"tags such as {event.tag!r:.40} are not read: write plain values", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise yaml.constructor.ConstructorError(
                None, None, "half a surrogate pair is no character", node.start_mark
            )
        return value

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value.__hash__ is not None and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key «{key.value}» occurs twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """Return the plain value in a YAML (or JSON) file.

    Raises
    ------
    InputError
        When the file is missing, too large, or no YAML, has a key twice or an alias; line and column are named.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device may never end
            raise InputError(f"'{path}' is no regular file: give the YAML file.")
        if path.stat().st_size > LARGEST:
            raise InputError(f"'{path}' is larger than {LARGEST // 1024} KiB; that is no settings file.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"There is no file '{path}'.") from error
    except IsADirectoryError as error:
        raise InputError(f"'{path}' is a folder: give the YAML file.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as text: {error}.") from error
    return parse_yaml(text, f"'{path}'")


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain value that a YAML text stands for; `where` names it in messages.

    Raises
    ------
    InputError
        As `read_yaml`.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{where}{place} is no readable YAML: {error.problem or error.context}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            f"{where} is no readable YAML: {str(error).splitlines()[0] if str(error) else error!r}."
        ) from error
