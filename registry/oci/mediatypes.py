"""Media types and annotation keys, each with the place that defines it."""

from typing import Final

# Docker image manifest, version 2, schema 2: what Ollama writes.
# https://distribution.github.io/distribution/spec/manifest-v2-2/
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

# OCI image specification 1.1: https://github.com/opencontainers/image-spec
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"

# Ollama's layers: server/images.go and types/model in https://github.com/ollama/ollama
OLLAMA_MODEL: Final = "application/vnd.ollama.image.model"
OLLAMA_PROJECTOR: Final = "application/vnd.ollama.image.projector"
OLLAMA_ADAPTER: Final = "application/vnd.ollama.image.adapter"
OLLAMA_DRAFT: Final = "application/vnd.ollama.image.draft"
OLLAMA_TEMPLATE: Final = "application/vnd.ollama.image.template"
OLLAMA_PROMPT: Final = "application/vnd.ollama.image.prompt"  # old name of the template
OLLAMA_SYSTEM: Final = "application/vnd.ollama.image.system"
OLLAMA_PARAMS: Final = "application/vnd.ollama.image.params"
OLLAMA_MESSAGES: Final = "application/vnd.ollama.image.messages"
OLLAMA_LICENSE: Final = "application/vnd.ollama.image.license"
OLLAMA_EMBED: Final = "application/vnd.ollama.image.embed"  # deprecated, ignored
OLLAMA_TENSOR: Final = "application/vnd.ollama.image.tensor"
OLLAMA_JSON: Final = "application/vnd.ollama.image.json"

# Annotation keys: https://github.com/opencontainers/image-spec/blob/main/annotations.md
ANNOTATION_TITLE: Final = "org.opencontainers.image.title"
ANNOTATION_REF_NAME: Final = "org.opencontainers.image.ref.name"

# Signatures: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
