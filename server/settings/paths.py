"""Where things live. Models, history and server.json share Ollama's folder; the rest is where each system keeps it.

Functions, because the home folder may be another one for a test or a service account. None creates what it names.
"""

from __future__ import annotations

from pathlib import Path

APP_NAME = "Puna"


def home_dir() -> Path:
    """The folder that Puna and Ollama share."""
    return Path.home() / ".ollama"


def config_dir() -> Path:
    import platformdirs

    return platformdirs.user_config_path(APP_NAME, appauthor=False)


def state_dir() -> Path:
    import platformdirs

    return platformdirs.user_state_path(APP_NAME, appauthor=False)


def log_dir() -> Path:
    import platformdirs

    return platformdirs.user_log_path(APP_NAME, appauthor=False)


def cache_dir() -> Path:
    import platformdirs

    return platformdirs.user_cache_path(APP_NAME, appauthor=False)


def settings_file() -> Path:
    return config_dir() / "settings.toml"


def keys_file() -> Path:
    """API keys, as far as they are kept."""
    return state_dir() / "api-keys.json"


def servers_dir() -> Path:
    """What servers that run now leave for the programs of the same user."""
    return state_dir() / "servers"


def server_log() -> Path:
    return log_dir() / "server.log"


def history_file() -> Path:
    return home_dir() / "history"


def cloud_file() -> Path:
    """Ollama's own file with the switch `disable_ollama_cloud`."""
    return home_dir() / "server.json"
