"""The settings file: TOML, one key per setting, comments kept. Tables in it belong to others (the desktop app)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import InvalidSetting
from server.settings import paths
from server.settings.table import SETTINGS, Setting, setting_named


def read_file(path: Path) -> dict[str, str]:
    """Attribute to text. Empty where there is no file. Raises InvalidSetting."""
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"The settings file {path} cannot be read: {error}. Correct or remove it.") from error
    texts: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            continue
        texts[_known(key, path).attribute] = text_of(value)
    return texts


def text_of(value: Any) -> str:
    """What a user would have written into the environment for a value of TOML or Python."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(text_of(item) for item in value)
    return str(value)


def write(changes: Mapping[str, Any], file: Path | None = None) -> None:
    """Set or, with None, reset settings by attribute or variable name. All or nothing. Raises InvalidSetting."""
    import tomlkit

    path = file or paths.settings_file()
    rows = {_known(name, path): value for name, value in changes.items()}
    for setting, value in rows.items():
        setting.read(text_of(value), f"in {path}")
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        for setting, value in rows.items():
            if value is None:
                document.pop(setting.attribute, None)
            else:
                document[setting.attribute] = _toml_value(setting, value)
        _replace(path, tomlkit.dumps(document))
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"The settings file {path} cannot be written: {error}.") from error


def _toml_value(setting: Setting, value: Any) -> Any:
    """The natural type, so that the file reads well whether a window or a script wrote it."""
    text = text_of(value).strip()
    if setting.kind.name in ("boolean", "tristate", "integer") and text:
        return setting.kind.read(text)
    if setting.kind.name == "list":
        return list(setting.kind.read(text))
    return text


def _known(name: str, path: Path) -> Setting:
    try:
        return setting_named(name)
    except KeyError:
        raise InvalidSetting(f"{path} sets {name}, which is no setting of Puna.{_suggestion(name)}") from None


def _suggestion(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower(), [setting.attribute for setting in SETTINGS], n=1)
    return f" Did you mean {near[0]}?" if near else " `puna serve --help` lists them all."


def _replace(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of it, even when the power goes."""
    path = path.resolve()  # a link to a file elsewhere stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
