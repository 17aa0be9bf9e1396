"""The one table of settings. Window, file, environment, `puna serve --help` and README are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.errors import InvalidSetting
from server.settings.kinds import (
    ADDRESS,
    ALIASES,
    BOOLEAN,
    DURATION,
    FOLDER,
    HOSTS,
    KV_TYPE,
    LOG_LEVEL,
    ORIGINS,
    PLACES,
    TEXT,
    TRISTATE,
    URL,
    Kind,
    choice,
    whole_number,
)

MAX_SEQUENCES = 256  # as many as llama.cpp holds in one context
MAX_DOWNLOAD_PARTS = 64
MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Setting:
    """`attribute` is the name in the settings file and on Settings; `default` is text as a user would write it, ""
    where an empty value means something of its own, which `default_words` then says."""

    env: str
    attribute: str
    kind: Kind
    default: str
    help: str
    group: str
    default_words: str = ""
    hidden: bool = False
    needs_restart: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.attribute.removesuffix("_seconds").removesuffix("_bytes").replace("_", "-")

    @property
    def shown_default(self) -> str:
        return self.default_words or self.default

    def read(self, text: str, where: str) -> Any:
        """A value of the setting's type, None for an empty text. Raises InvalidSetting; `where` names the source."""
        text = trimmed(text)
        if not text:
            return None
        try:
            return self.kind.read(text)
        except ValueError:
            raise InvalidSetting(
                f'{self.env} is "{text}" ({where}), but it must be {self.kind.allowed}. Correct or remove it.'
            ) from None


def trimmed(text: str) -> str:
    """Without surrounding blanks and the quotes that shells, units and compose files leave in."""
    return text.strip().strip("\"'").strip()


NETWORK, MODELS, PERFORMANCE, LOGS, TERMINAL = "Network", "Models", "Performance", "Logs", "Terminal"
GROUPS = (NETWORK, MODELS, PERFORMANCE, LOGS, TERMINAL)

# The order is that of the help text.
SETTINGS: tuple[Setting, ...] = (
    Setting("OLLAMA_DEBUG", "log_level", LOG_LEVEL, "info",
            "Show more in the log (1 for details, 2 for everything, -1 for warnings only)", LOGS),
    Setting("OLLAMA_HOST", "host", ADDRESS, "127.0.0.1:11434",
            "Address of the server", NETWORK),
    Setting("OLLAMA_CONTEXT_LENGTH", "context_length", whole_number(0, MAX_INT32), "0",
            "Context length in tokens where neither model nor request says one", MODELS,
            default_words="by GPU memory"),
    Setting("OLLAMA_KEEP_ALIVE", "keep_alive_seconds", DURATION, "5m",
            "How long an idle model stays loaded (negative: for ever)", MODELS),
    Setting("OLLAMA_MAX_LOADED_MODELS", "max_loaded_models", whole_number(0, MAX_INT32), "0",
            "How many models may be loaded at once", MODELS, default_words="3 per GPU, at least 3"),
    Setting("OLLAMA_MAX_QUEUE", "max_queue", whole_number(0, MAX_INT32), "512",
            "How many requests may wait", MODELS),
    Setting("OLLAMA_MODELS", "models_dir", FOLDER, "~/.ollama/models",
            "Folder of the models", MODELS),
    Setting("OLLAMA_NUM_PARALLEL", "num_parallel", whole_number(0, MAX_SEQUENCES), "1",
            "How many requests one model answers at the same time", MODELS),
    Setting("OLLAMA_NO_CLOUD", "no_cloud", BOOLEAN, "false",
            "Refuse everything that would leave this machine for a cloud", NETWORK),
    Setting("OLLAMA_NOPRUNE", "noprune", BOOLEAN, "false",
            "Keep files that no model uses when the server starts", MODELS),
    Setting("OLLAMA_ORIGINS", "origins", ORIGINS, "",
            "Web pages and extensions that may use the server, besides those of this machine (comma-separated)",
            NETWORK, default_words="none"),
    Setting("OLLAMA_SCHED_SPREAD", "sched_spread", BOOLEAN, "false",
            "Spread every model over all GPUs", PERFORMANCE),
    Setting("OLLAMA_FLASH_ATTENTION", "flash_attention", TRISTATE, "",
            "Switch flash attention on or off", PERFORMANCE, default_words="automatic"),
    Setting("OLLAMA_KV_CACHE_TYPE", "kv_cache_type", KV_TYPE, "",
            "Number format of the context's cache (q8_0 takes half the memory of f16, q4_0 a quarter)", PERFORMANCE,
            default_words="f16"),
    Setting("OLLAMA_GPU_OVERHEAD", "gpu_overhead_bytes", whole_number(0, MAX_INT64), "0",
            "Memory in bytes to leave free on every GPU", PERFORMANCE),
    Setting("OLLAMA_LOAD_TIMEOUT", "load_timeout_seconds", DURATION, "5m",
            "How long a loading model may be silent before it counts as stuck (0 or less: no limit)", MODELS),
    Setting("PUNA_DOWNLOAD_PARTS", "download_parts", whole_number(1, MAX_DOWNLOAD_PARTS), "8",
            "How many parts of a file are downloaded at the same time", NETWORK),
    Setting("PUNA_DOWNLOAD_SPEED", "download_speed_bytes", whole_number(0, MAX_INT64), "0",
            "Bytes per second that all downloads together take at most", NETWORK, default_words="no limit"),
    Setting("PUNA_REGISTRIES", "registries", HOSTS, "",
            "Registries in a private network that may be used (hosts, addresses or networks, comma-separated)",
            NETWORK, default_words="none"),
    Setting("PUNA_REQUIRE_KEY", "require_key", BOOLEAN, "false",
            "Let in only who sends an API key (`puna keys` makes them)", NETWORK),
    Setting("OLLAMA_GO_TEMPLATE", "go_template", TRISTATE, "",
            "Render prompts with the TEMPLATE of the Modelfile (true) or never (false)", MODELS,
            default_words="automatic", hidden=True),
    Setting("OLLAMA_DEBUG_LOG_REQUESTS", "log_requests", BOOLEAN, "false",
            "Keep the body of every request in a temporary folder", LOGS, hidden=True),
    Setting("PUNA_MODEL_ALIASES", "model_aliases", ALIASES, "",
            "Models that answer under names that are not installed, such as `claude-*=qwen3` (comma-separated)",
            MODELS, default_words="none"),
    Setting("PUNA_METRICS", "metrics", BOOLEAN, "false",
            "Tell figures of the work at `/metrics` (for Prometheus) and `/slots`", NETWORK),
    Setting("PUNA_LONG_PROMPTS", "long_prompts", choice("auto", "drop", "refuse"), "auto",
            "What becomes of a conversation that is too long for the context under `/v1`: drop the oldest messages, "
            "refuse it, or as its API does (auto)", MODELS),
    Setting("PUNA_SEARCH_URL", "search_url", URL, "",
            "Address of a SearXNG instance that searches the web where a client lets the model do so (`web_search` of "
            "`/v1/responses` and `/v1/messages`): the words searched for go there and to the engines that it asks. "
            "Without an address no model can search, and nothing is sent", NETWORK, default_words="off"),
    Setting("PUNA_REMOTE_IMAGES", "remote_images", PLACES, "",
            "Fetch the images that requests under `/v1` name by address: `true` from public addresses, or from the "
            "listed hosts and networks (comma-separated; `public` is one of them). The server asked learns the address "
            "of this machine", NETWORK, default_words="off"),
    Setting("PUNA_REASONING_FIELD", "reasoning_field", choice("both", "reasoning", "reasoning_content"), "both",
            "Name of the thoughts in answers of `/v1/chat/completions`", MODELS, hidden=True),
    Setting("OLLAMA_NOHISTORY", "nohistory", BOOLEAN, "false",
            "Do not keep the prompts of interactive sessions", TERMINAL, hidden=True, needs_restart=False),
    Setting("OLLAMA_EDITOR", "editor", TEXT, "",
            "Editor that Ctrl+G opens in interactive sessions", TERMINAL, default_words="VISUAL, then EDITOR",
            hidden=True, needs_restart=False),
)  # fmt: skip

_BY_NAME = {name: setting for setting in SETTINGS for name in (setting.env, setting.attribute)}


def setting_named(name: str) -> Setting:
    """By the name of its variable or attribute. Raises KeyError."""
    return _BY_NAME[name]


def help_rows() -> list[tuple[str, str]]:
    """Variable and description, for the end of `puna serve --help`."""
    return [(setting.env, setting.help) for setting in SETTINGS if not setting.hidden]


def markdown_table() -> str:
    """The README's table, hidden settings included."""
    rows = ["| Variable | Key in `settings.toml` | Flag | Default | Meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{setting.env}` | `{setting.attribute}` | `{setting.flag}` | {_default_cell(setting)} | {setting.help} |"
        for setting in SETTINGS
    ]
    return "\n".join(rows) + "\n"


def _default_cell(setting: Setting) -> str:
    return setting.default_words or f"`{setting.default}`"
