"""All settings: one table, one file, one reading of the environment."""

from server.settings import paths
from server.settings.address import Address, is_loopback, reachable_host
from server.settings.environment import (
    own_key,
    process_environ,
    runner_environ,
    usual_editor,
    variables_of_others,
    variables_without_meaning,
)
from server.settings.file import write
from server.settings.kinds import KV_TYPES, TRACE
from server.settings.proxies import proxy_for
from server.settings.table import GROUPS, SETTINGS, Setting, help_rows, markdown_table, setting_named
from server.settings.values import Settings, Source, Value, client_url, load

__all__ = [
    "GROUPS",
    "KV_TYPES",
    "SETTINGS",
    "TRACE",
    "Address",
    "Setting",
    "Settings",
    "Source",
    "Value",
    "client_url",
    "help_rows",
    "is_loopback",
    "load",
    "markdown_table",
    "own_key",
    "paths",
    "process_environ",
    "proxy_for",
    "reachable_host",
    "runner_environ",
    "setting_named",
    "usual_editor",
    "variables_of_others",
    "variables_without_meaning",
    "write",
]
