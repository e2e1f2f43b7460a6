"""The variables that olm reads, for the manual: one table, checked against what is read.

Each `OLM_X` but `OLM_HOME` falls back to its twin `OLLAMA_X`, then to the key `x` in `olm.toml`.
"""

from typing import Final

VARIABLES: Final = {
    "OLM_HOME": "directory of logs, history and settings (~/.olm)",
    "OLM_CONFIG": "file of settings, instead of your own olm.toml; see olm.toml(5)",
    "OLM_MODELS": "the store; may be Ollama's ($OLM_HOME/models)",
    "OLM_HOST": "address of the daemon, also https:// or unix:///PATH (127.0.0.1:11434)",
    "OLM_SOCKET_MODE": "mode of the Unix socket that OLM_HOST names (0600)",
    "OLM_TLS_CERT": "certificate in PEM that a daemon at an https address shows",
    "OLM_TLS_KEY": "its key, which nobody else may read (in the same file)",
    "OLM_TLS_CLIENT_CA": "authorities in PEM; clients must show a certificate of theirs",
    "OLM_POLICY": "file that says which models may be fetched, and signed by whom",
    "OLM_INSECURE": "1: other machines may use the daemon without a key",
    "OLM_API_KEY": "key that commands, and agents of `olm launch`, send to the daemon",
    "OLM_KEEP_ALIVE": "how long an idle model stays loaded; negative: for ever (5m)",
    "OLM_LOAD_TIMEOUT": "how long a load may make no progress; 0: for ever (5m)",
    "OLM_MIN_FREE": "disk space that the store leaves free, such as 10G (0)",
    "OLM_STALL_TIMEOUT": "how long a client may send or read nothing (1m)",
    "OLM_MAX_CONNECTIONS": "connections to the daemon at a time (512)",
    "OLM_CONTEXT_LENGTH": "context length where none is asked for (chosen by memory)",
    "OLM_ON_OVERFLOW": "what a short context does: error, truncate, or shift (shift)",
    "OLM_NUM_PARALLEL": "requests answered side by side (4 that share a context; set: one each)",
    "OLM_MAX_LOADED_MODELS": "models in memory at a time (chosen by the machine)",
    "OLM_MAX_QUEUE": "requests that may wait, over all models (512)",
    "OLM_MAX_QUEUE_PER_MODEL": "requests that may wait for one model (128)",
    "OLM_MAX_QUEUE_PER_KEY": "requests with one API key that may wait (64)",
    "OLM_MAX_TRANSFER_STREAMS": "most connections of a transfer (8 to 24, as helps)",
    "OLM_INSECURE_REGISTRIES": "hosts that may be reached over plain http; a comma list",
    "OLM_CA_BUNDLE": "file of authorities to trust besides the system's (SSL_CERT_FILE)",
    "OLM_FLASH_ATTENTION": "1 or 0 forces it on or off",
    "OLM_KV_CACHE_TYPE": "element type of the KV cache: f16, q8_0, q4_0 and others (f16)",
    "OLM_GPU_OVERHEAD": "memory of every card that is left to others, such as 2G (0)",
    "OLM_SCHED_SPREAD": "1 spreads every model over all cards",
    "OLM_DEGRADE": "warn or error: what becomes of a model that does not fit as asked (warn)",
    "OLM_KV_OFFLOAD": "0 keeps KV caches in main memory (1)",
    "OLM_CPU_MOE": "layers whose experts stay in main memory; 0: as few as possible (0)",
    "OLM_SPLIT_MODE": "layer, row or tensor: how a model is spread over cards (layer)",
    "OLM_RPC": "devices of other machines, unencrypted, as host:port; a comma list",
    "OLM_PROMPT_CACHE": "bytes of memory for idle prompts of a loaded model; 0: none (1073741824)",
    "OLM_STORED_RESPONSES": "responses of OpenAI's API kept in memory; 0: none (0)",
    "OLM_CACHE_DIR": "where prompts are kept of models that are unloaded ($OLM_HOME/cache/prompts)",
    "OLM_CACHE_DISK": "disk space for them, such as 10G; 0: none are kept (1G)",
    "OLM_ORIGINS": "origins of browser requests to allow, besides local ones; a comma list",
    "OLM_HOSTS": "names of this machine that requests may use, besides its own; a comma list",
    "OLM_GO_TEMPLATE": "1: Go templates win over Jinja, 0: they do not (the one that does more)",
    "OLM_CONFINE": "0: runners and template workers keep network, files and privileges (1)",
    "OLM_NOPRUNE": "1 keeps blobs that no model uses",
    "OLM_NOHISTORY": "1 saves no lines of chats",
    "OLM_MARKDOWN": "1 draws Markdown in answers as what it means, on a terminal",
    "OLM_EDITOR": "editor for Ctrl-G in a chat (VISUAL, EDITOR, vi)",
    "OLM_DEBUG": "1 logs more, 2 most",
}
"""The meaning of each variable and, in parentheses, its default."""

OTHERS: Final = {
    "NO_COLOR": "any value: no colours",
    "LLAMA_CPP_LIB_PATH": "directory of llama.cpp's libraries, instead of the installed ones",
    "HTTP_PROXY, HTTPS_PROXY, NO_PROXY": "proxies on the way to other machines",
    "DOCKER_CONFIG, REGISTRY_AUTH_FILE": "where logins are kept (~/.docker, Podman's auth.json)",
    "OLM_GPU, OLM_BUILD": "what `python -m olmkit.engine.install` builds llama.cpp for",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where traces go, with olmkit[otel]; other OTEL_* apply too",
    "HF_TOKEN, HF_ENDPOINT": "token for Hugging Face, and its address",
}
