"""One spelling for each repository, and patterns of them: what policies and signatures go by.

Tags are left out: the same manifest can be asked for by any tag or by its digest.
"""

import re
from functools import lru_cache
from typing import Final

from olmkit.registry.oci.reference import DEFAULT_HOST, DEFAULT_NAMESPACE, PYPI_SCHEME, Reference

_DOCKER_HUB: Final = "docker.io"
_ALIASES: Final = {
    "index.docker.io": _DOCKER_HUB,
    "registry-1.docker.io": _DOCKER_HUB,
    "huggingface.co": "hf.co",
    "ollama.com": DEFAULT_HOST,
}
_PATTERN: Final = re.compile(r"[\w./:*\[\]-]{1,300}")
_STARS_LIMIT: Final = 8
"""Of one pattern; each multiplies what a comparison costs."""


def repository_name(reference: Reference, *, for_docker: bool = False) -> str:
    """`HOST/REPOSITORY`, the same for every spelling of a host; `for_docker`: as cosign writes it,
    which calls Docker Hub `index.docker.io`.
    """
    host, repository = _one_host(reference.host), reference.repository
    if host == _DOCKER_HUB:
        if "/" not in repository:
            repository = f"{DEFAULT_NAMESPACE}/{repository}"
        host = "index.docker.io" if for_docker else host
    return f"{host}/{repository}"


def parse_pattern(text: str) -> str:
    """The pattern with nothing left out: a name of a repository, `*` for anything.

    Raises:
        ValueError: it is no pattern, or it has a tag.
    """
    if _PATTERN.fullmatch(text) is None and not text.startswith(PYPI_SCHEME):
        raise ValueError(f"{text[:80]!r} is no pattern of names such as ghcr.io/team/*")
    if text.count("*") > _STARS_LIMIT:
        raise ValueError(f"{text[:80]!r} has more than {_STARS_LIMIT} stars")
    if ":" in text.rpartition("/")[2]:
        raise ValueError(f"{text[:80]!r} has a tag: patterns name repositories")
    if text.startswith(PYPI_SCHEME):
        return f"pypi/{DEFAULT_NAMESPACE}/{text.removeprefix(PYPI_SCHEME)}"
    first, slash, rest = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or "*" in first
    if not slash:
        return text if "*" in first else f"{DEFAULT_HOST}/{DEFAULT_NAMESPACE}/{text}"
    if not is_host and "/" not in rest:
        return f"{DEFAULT_HOST}/{text}"
    return f"{_one_host(first)}/{rest}"


def _one_host(host: str) -> str:
    """The host without a usual port or the root's dot, by the best known of its names."""
    host = host.removesuffix(":443").removesuffix(":80").rstrip(".")
    return _ALIASES.get(host, host)


def matches(pattern: str, repository: str) -> bool:
    """Whether a parsed pattern covers the repository; no case, as hosts have none."""
    return _expression(pattern).fullmatch(repository.lower()) is not None


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.lower().split("*"))))
