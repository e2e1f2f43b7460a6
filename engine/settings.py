"""Settings of the daemon and its clients: `OLM_*` variables, their `OLLAMA_*` twins, `olm.toml`.

The only reader of the environment in the engine. `OLM_X` wins over `OLLAMA_X`, both over files;
values lose surrounding blanks and quotes, as Ollama's do
(https://github.com/ollama/ollama/blob/v0.17.4/envconfig/config.go). A variable that cannot be
used gives way to the default and leaves a line in `Settings.warnings`; what a file says wrong is
an error.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from olmkit.engine.addresses.address import Address
from olmkit.engine.configuration.configfiles import (
    SYSTEM_FILE,
    exposed_secrets,
    find_config_files,
    is_missing,
    read_values,
    shut_to_us,
    user_file,
)
from olmkit.engine.configuration.settingreader import INFO, Given, Kind, Reading, SettingReader
from olmkit.engine.durations import keep_alive_seconds
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.kvcachetypes import DEFAULT_KV_CACHE_TYPE, KV_CACHE_TYPES
from olmkit.engine.remotes import Remotes, find_home
from olmkit.modelfile.booleans import parse_boolean

OVERFLOWS: Final = ("error", "truncate", "shift")

TRACES_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACES_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

LOCAL_ORIGINS: Final = (
    *(
        f"{scheme}://{host}{port}"
        for host in ("localhost", "127.0.0.1", "0.0.0.0")
        for scheme in ("http", "https")
        for port in ("", ":*")
    ),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
"""Origins of browser requests that are always allowed; `*` stands for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says, typed; every field has a default."""

    address: Address = field(default_factory=Address)
    home: Path = field(default_factory=lambda: Path.home() / ".olm")
    models: Path = field(default_factory=lambda: Path.home() / ".olm" / "models")
    """The store."""
    keep_alive_s: float = 300.0
    """How long an idle model stays loaded; `math.inf`: for ever, 0: not at all."""
    load_timeout_s: float = 300.0
    """How long a load may go on without progress; `math.inf`: without limit."""
    min_free_bytes: int = 0
    """What the store leaves free on its disk."""
    is_insecure: bool = False
    """Other machines may use the daemon without a key."""
    api_key: str | None = field(default=None, repr=False)
    """What clients say who they are by."""
    socket_mode: int = 0o600
    """Of the Unix socket that `address` names: who may connect to it."""
    tls_certificate: Path | None = None
    """What the daemon shows at an https address, and clients where a daemon asks for one."""
    tls_key: Path | None = None
    """Of that certificate; None: it is in the same file."""
    tls_client_ca: Path | None = None
    """Whose certificates the daemon asks its clients for; None: it asks for none."""
    policy: Path | None = None
    """File that says which models may be fetched, and whose signatures they need; None: any."""
    stall_timeout_s: float = 60.0
    """How long a request may come, or an answer be unread, without progress."""
    max_connections: int = 512
    context_tokens: int | None = None
    """Context length where neither request nor model says one; None: automatic."""
    parallel: int = 4
    """Requests that one model decodes side by side."""
    max_loaded_models: int | None = None
    """None: automatic."""
    max_queue: int = 512
    """Requests that may wait, over all models."""
    max_queue_per_model: int = 128
    max_queue_per_key: int = 64
    transfer_streams: int | None = None
    """Most connections of one transfer; None: as many as help."""
    flash_attention: bool | None = None
    """None: llama.cpp decides."""
    on_overflow: str = "shift"
    """What is done, unless a request says otherwise, when its context is too short: `error`
    refuses the prompt, `truncate` shortens it, `shift` lets answers go on beyond it too."""
    kv_cache_type: str = DEFAULT_KV_CACHE_TYPE
    gpu_overhead_bytes: int = 0
    """What is left to others on every card."""
    spreads: bool = False
    """Whether a model is spread over all cards, even where fewer would do."""
    degrade: str = "warn"
    """What becomes of a model that does not fit as asked: `warn` loads it with less and says so,
    `error` refuses it."""
    kv_offload: bool = True
    """Whether the KV cache is where its layers are; else it is in main memory."""
    cpu_expert_layers: int | None = None
    """The experts of so many first layers stay in main memory; None: as few as possible."""
    split_mode: str = "layer"
    """How a model is spread over cards: by `layer`, `row` or `tensor`."""
    rpc_servers: tuple[str, ...] = ()
    """Devices of other machines, `host:port`; unencrypted, and without authentication."""
    prompt_cache_bytes: int = 1 << 30
    """Main memory that a loaded model may use for what idle prompts hold."""
    stored_responses: int = 0
    """Responses of OpenAI's API that are kept, so that others can go on from them; 0: none."""
    prompt_store: Path = field(default_factory=lambda: Path.home() / ".olm" / "cache" / "prompts")
    """Where that is kept when a model is unloaded."""
    prompt_store_bytes: int = 1 << 30
    """What all models together may take there; 0: nothing is kept."""
    origins: tuple[str, ...] = LOCAL_ORIGINS
    """Allowed origins of browser requests, the user's before the local ones."""
    hosts: tuple[str, ...] = ()
    """Names, beside this machine's own, under which a daemon on loopback may be addressed."""
    log_level: int = INFO
    traces: bool = False
    """Whether an endpoint for traces is set; OpenTelemetry reads which one."""
    traces_content: bool = False
    """Whether traces tell what was asked and answered."""
    go_template: bool | None = None
    """Whether a Go template wins over the file's Jinja; None: the one that does more."""
    no_prune: bool = False
    confines: bool = True
    """Whether processes that read models and templates give up network, files and privileges."""
    no_history: bool = False
    markdown: bool = False
    """Whether commands draw Markdown on a terminal."""
    editor: str | None = None
    engine_libraries: Path | None = None
    """Directory of llama.cpp's libraries, where they are not the installed ones; the variable,
    `LLAMA_CPP_LIB_PATH`, is llama-cpp-python's."""
    remotes: Remotes = field(default_factory=Remotes)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Field name to the variable, or the line of a file, for the fields that were set."""
    project_fields: frozenset[str] = field(default=frozenset(), repr=False)
    """The fields that a project's file set."""
    readings: Mapping[str, Reading] = field(default_factory=dict, repr=False)
    """All settings that there are, by key, as they were read."""
    warnings: tuple[str, ...] = field(default=(), repr=False)
    """One sentence a value that could not be used."""

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        directory: Path | None = None,
        system: Path = SYSTEM_FILE,
    ) -> "Settings":
        """The settings of this process, from its environment and the files that count for it.

        `directory` is where the search for a project's file begins; None, as for the daemon,
        which serves all projects: no such file counts.

        Raises:
            InvalidRequest: a file or its value cannot be used, and as `from_environment` does.
        """
        user = user_file(environ, find_home(environ))
        if environ.get("OLM_CONFIG") and user is not None and is_missing(user):
            raise InvalidRequest(f"OLM_CONFIG names no file: {user}", field="OLM_CONFIG")
        found = find_config_files(user, directory, system=system)
        if not found:
            return cls.from_environment(environ)
        files = [file for file in found if not shut_to_us(file)]
        given = read_values(files)
        settings = cls.from_environment(environ, given)
        shut = [
            f"{file.path} does not count: permission denied" for file in found if file not in files
        ]
        warnings = (*settings.warnings, *shut, *exposed_secrets(files, given))
        return replace(settings, warnings=warnings)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, given: Mapping[str, Given] | None = None
    ) -> "Settings":
        """The settings by the environment, and by what files give where that says nothing.

        Of most variables that cannot be used, `warnings` tell.

        Raises:
            InvalidRequest: the address has no port that there is, nothing tells where the home
                is, or a file's value cannot be used.
        """
        read = SettingReader(environ, given or {})
        home = _path(read.path("home", "HOME", twin=False) or "~/.olm", environ)
        models = read.path("models", "MODELS")
        store = read.path("prompt_store", "CACHE_DIR", twin=False)
        load_timeout_s = read.seconds("load_timeout_s", "LOAD_TIMEOUT", 300)
        settings = cls(
            address=read.address("address", "HOST"),
            home=home,
            models=_path(models, environ) if models else home / "models",
            keep_alive_s=keep_alive_seconds(read.seconds("keep_alive_s", "KEEP_ALIVE", 300)),
            load_timeout_s=load_timeout_s if load_timeout_s > 0 else math.inf,
            min_free_bytes=read.size("min_free_bytes", "MIN_FREE", 0),
            is_insecure=read.flag("is_insecure", "INSECURE", twin=False) or False,
            api_key=read.text("api_key", "API_KEY"),
            socket_mode=read.mode("socket_mode", "SOCKET_MODE", 0o600),
            tls_certificate=_file(read.path("tls_certificate", "TLS_CERT", twin=False), environ),
            tls_key=_file(read.path("tls_key", "TLS_KEY", twin=False), environ),
            tls_client_ca=_file(read.path("tls_client_ca", "TLS_CLIENT_CA", twin=False), environ),
            policy=_file(read.path("policy", "POLICY", twin=False), environ),
            stall_timeout_s=max(0.1, read.seconds("stall_timeout_s", "STALL_TIMEOUT", 60)),
            max_connections=max(8, read.count("max_connections", "MAX_CONNECTIONS", 512)),
            context_tokens=read.count("context_tokens", "CONTEXT_LENGTH", 0) or None,
            parallel=max(1, read.count("parallel", "NUM_PARALLEL", 4)),
            max_loaded_models=read.count("max_loaded_models", "MAX_LOADED_MODELS", 0) or None,
            max_queue=max(1, read.count("max_queue", "MAX_QUEUE", 512)),
            max_queue_per_model=max(
                1, read.count("max_queue_per_model", "MAX_QUEUE_PER_MODEL", 128)
            ),
            max_queue_per_key=max(1, read.count("max_queue_per_key", "MAX_QUEUE_PER_KEY", 64)),
            transfer_streams=read.count("transfer_streams", "MAX_TRANSFER_STREAMS", 0) or None,
            flash_attention=read.flag("flash_attention", "FLASH_ATTENTION"),
            on_overflow=read.choice("on_overflow", "ON_OVERFLOW", OVERFLOWS, "shift"),
            kv_cache_type=read.choice(
                "kv_cache_type", "KV_CACHE_TYPE", tuple(KV_CACHE_TYPES), DEFAULT_KV_CACHE_TYPE
            ),
            gpu_overhead_bytes=read.size("gpu_overhead_bytes", "GPU_OVERHEAD", 0),
            spreads=read.flag("spreads", "SCHED_SPREAD") or False,
            degrade=read.choice("degrade", "DEGRADE", ("warn", "error"), "warn"),
            kv_offload=read.flag("kv_offload", "KV_OFFLOAD") is not False,
            cpu_expert_layers=read.count("cpu_expert_layers", "CPU_MOE", 0) or None,
            split_mode=read.choice("split_mode", "SPLIT_MODE", ("layer", "row", "tensor"), "layer"),
            rpc_servers=read.listed("rpc_servers", "RPC"),
            prompt_cache_bytes=read.count("prompt_cache_bytes", "PROMPT_CACHE", 1 << 30),
            stored_responses=read.count("stored_responses", "STORED_RESPONSES", 0),
            prompt_store=_path(store, environ) if store else home / "cache" / "prompts",
            prompt_store_bytes=read.size("prompt_store_bytes", "CACHE_DISK", 1 << 30),
            origins=read.listed("origins", "ORIGINS") + LOCAL_ORIGINS,
            hosts=read.listed("hosts", "HOSTS"),
            log_level=read.log_level("log_level", "DEBUG"),
            traces=_wants_traces(environ),
            traces_content=parse_boolean(environ.get(TRACES_CONTENT, "").lower()) is True,
            go_template=read.flag("go_template", "GO_TEMPLATE"),
            no_prune=read.flag("no_prune", "NOPRUNE") or False,
            confines=read.flag("confines", "CONFINE") is not False,
            no_history=read.flag("no_history", "NOHISTORY") or False,
            markdown=read.flag("markdown", "MARKDOWN", twin=False) or False,
            editor=read.text("editor", "EDITOR"),
            engine_libraries=read.foreign_path("engine_libraries", "LLAMA_CPP_LIB_PATH"),
            remotes=Remotes.from_environment(
                read.environ_with(
                    ("remotes.ca_bundle", "CA_BUNDLE", Kind.PATH),
                    ("remotes.plain_http_hosts", "INSECURE_REGISTRIES", Kind.LIST),
                )
            ),
            sources=read.sources,
            project_fields=read.project_fields,
            readings=read.readings,
            warnings=tuple(read.warnings),
        )
        read.refuse_unknown()
        return settings

    @property
    def is_exposed(self) -> bool:
        """Whether other machines reach the daemon without a certificate, and nobody said that it
        shall be open."""
        asks_for_certificates = self.address.scheme == "https" and self.tls_client_ca is not None
        return not (self.is_insecure or self.address.is_loopback or asks_for_certificates)

    @property
    def path_variables(self) -> dict[str, str]:
        """The variables that name files and folders, with whole paths: for processes that start in
        another folder."""
        values = ((variable, self.value_of(name)) for name, variable in self.sources.items())
        paths = {
            variable: str(value)
            for variable, value in values
            if variable.isidentifier() and isinstance(value, Path) and value.is_absolute()
        }
        if self.remotes.ca_bundle is not None:
            paths["OLM_CA_BUNDLE"] = self.remotes.ca_bundle
        return paths

    def value_of(self, name: str) -> object:
        """The value of a field; dots in the name lead into it."""
        value: object = self
        for part in name.split("."):
            value = getattr(value, part)
        return value

    @property
    def daemon_file(self) -> Path:
        """Where the running daemon says its pid and address."""
        return self.home / "daemon.json"

    @property
    def findings_file(self) -> Path:
        """Where it is kept in which safe mode an engine runs on this machine."""
        return self.home / "cache" / "engine-findings.json"

    @property
    def measured_costs_file(self) -> Path:
        """Where it is kept what models took of each device."""
        return self.home / "cache" / "measured-costs.json"

    @property
    def log_file(self) -> Path:
        """Where a daemon that was started in the background logs to."""
        return self.home / "logs" / "daemon.log"

    def source_of(self, name: str) -> str:
        """The variable that the field `name` was read from, or `default`."""
        return self.sources.get(name, "default")


def _wants_traces(environ: Mapping[str, str]) -> bool:
    """Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not is_off and any(environ.get(name, "").strip() for name in TRACES_ENDPOINTS)


def _file(text: str | None, environ: Mapping[str, str]) -> Path | None:
    return None if text is None else _path(text, environ)


def _path(text: str, environ: Mapping[str, str]) -> Path:
    """An absolute path; `~` is the home of `environ`, not of this process.

    Raises:
        InvalidRequest: nothing tells where that is.
    """
    if text == "~" or text.startswith("~/"):
        home = find_home(environ)
        if home is None:
            raise InvalidRequest(
                f"the home directory is unknown: HOME is not set, and user {os.getuid()} is in no"
                " password file",
                field="HOME",
                hint="set HOME, or OLM_HOME to the directory in which olm may keep things",
            )
        text = str(home) + text[1:]
    return Path(os.path.abspath(text))
