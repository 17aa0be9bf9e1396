"""The values in effect: default < file < environment < flag, each knowing where it came from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from server.settings import paths
from server.settings.address import DEFAULT_HOST, DEFAULT_PORT, Address
from server.settings.environment import process_environ
from server.settings.file import read_file, text_of
from server.settings.table import SETTINGS, Setting, setting_named, trimmed

Source = Literal["default", "file", "environment", "flag"]
CloudSwitch = Literal["none", "env", "config", "both"]


def _default_models_dir() -> Path:
    return paths.home_dir() / "models"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, read once at the start.

    `host` "" is every interface. `keep_alive_seconds` negative is for ever; `load_timeout_seconds` of 0 or less is no
    limit, as is `download_speed_bytes` of 0; `max_loaded_models` and `context_length` 0 are automatic; None is
    automatic; `kv_cache_type` "" is f16.
    `sources` and `texts` are keyed by attribute; what they lack is at its default.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    scheme: str = "http"
    url_path: str = ""
    models_dir: Path = msgspec.field(default_factory=_default_models_dir)
    keep_alive_seconds: float = 300.0
    load_timeout_seconds: float = 300.0
    num_parallel: int = 1
    max_loaded_models: int = 0
    max_queue: int = 512
    context_length: int = 0
    origins: tuple[str, ...] = ()
    flash_attention: bool | None = None
    kv_cache_type: str = ""
    sched_spread: bool = False
    gpu_overhead_bytes: int = 0
    noprune: bool = False
    no_cloud: bool = False
    cloud_disabled_by: CloudSwitch = "none"
    download_parts: int = 8
    download_speed_bytes: int = 0
    registries: tuple[str, ...] = ()
    require_key: bool = False
    search_url: str = ""
    remote_images: tuple[str, ...] = ()
    go_template: bool | None = None
    model_aliases: tuple[tuple[str, str], ...] = ()
    long_prompts: Literal["auto", "drop", "refuse"] = "auto"
    reasoning_field: Literal["both", "reasoning", "reasoning_content"] = "both"
    metrics: bool = False
    log_level: int = logging.INFO
    log_requests: bool = False
    nohistory: bool = False
    editor: str = ""
    sources: dict[str, Source] = {}
    texts: dict[str, str] = {}

    @property
    def address(self) -> Address:
        return Address(self.host, self.port, self.scheme, self.url_path)

    def value(self, name: str) -> Value:
        """A setting by the name of its variable or attribute. Raises KeyError."""
        setting = setting_named(name)
        value = self.address if setting.attribute == "host" else getattr(self, setting.attribute)
        source = self.sources.get(setting.attribute, "default")
        return Value(setting, value, source, self.texts.get(setting.attribute, setting.default))


class Value(msgspec.Struct, frozen=True):
    """One setting in effect; `text` is what its source said."""

    setting: Setting
    value: Any
    source: Source
    text: str


def load(
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    cloud_file: Path | None = None,
) -> Settings:
    """Read all sources. `flags` maps attributes to texts or values; None in it is a flag not given.

    Raises InvalidSetting for the first value that is not allowed: a setting that is silently another one than was
    asked for is found out late.
    """
    environ = process_environ() if environ is None else environ
    path = file or paths.settings_file()
    in_file = read_file(path)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    fields: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    texts: dict[str, str] = {}
    for setting in SETTINGS:
        name = setting.attribute
        candidates: tuple[tuple[Source, str, str], ...] = (
            ("flag", text_of(given.get(name)), f"given as {setting.flag}"),
            ("environment", environ.get(setting.env, ""), "in the environment"),
            ("file", in_file.get(name, ""), f"in {path} (key {name})"),
        )
        for source, raw, where in candidates:
            if text := trimmed(raw):
                fields[name], sources[name], texts[name] = setting.read(text, where), source, text
                break
    switched_off = _cloud_disabled_in(cloud_file or paths.cloud_file())
    return Settings(**_as_fields(fields, sources, switched_off), sources=sources, texts=texts)


def _as_fields(values: dict[str, Any], sources: Mapping[str, Source], switched_off: bool) -> dict[str, Any]:
    fields = dict(values)
    if address := fields.pop("host", None):
        fields |= {"host": address.host, "port": address.port, "scheme": address.scheme, "url_path": address.path}
    fields["num_parallel"] = max(1, fields.get("num_parallel", 1))
    # Ollama tells its clients apart who switched the cloud off; the settings file is Puna's half of "config".
    in_config = switched_off or (fields.get("no_cloud", False) and sources["no_cloud"] == "file")
    in_environment = fields.get("no_cloud", False) and sources["no_cloud"] != "file"
    fields["no_cloud"] = in_config or in_environment
    fields["cloud_disabled_by"] = (
        "both" if in_config and in_environment else "env" if in_environment else "config" if in_config else "none"
    )
    return fields


def _cloud_disabled_in(path: Path) -> bool:
    """Ollama's own file; a broken one is no reason not to start, as in Ollama."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("disable_ollama_cloud") is True


def client_url(settings: Settings) -> str:
    """Where clients on this machine reach the server, without a trailing slash."""
    return settings.address.url
