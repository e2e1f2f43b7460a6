"""References: the spellings of a model's name, and the one meaning of each.

    [https://][host/]repository[:tag][@sha256:…]
    pypi://PACKAGE[==VERSION]
    https://HOST/PATH/FILE.gguf[#sha256=…]

Decides what a name is, which parts may be left out, and whose names fold case. Knows neither the
store's folders nor any registry; a `Reference` that exists is safe to hand to both.

The rules, and where they widen those of https://github.com/ollama/ollama/blob/v0.17.4/types/model/name.go:

* `:` begins the tag only after the last `/`. No tag means `latest`; a digest without a tag takes
  its place, as the tag `sha256-…`.
* With three or more parts the first is the host, as Ollama has it. With two it is one when it holds
  a `.` or `:`, or is `localhost`, as Docker has it. Without a host: `registry.ollama.ai`, and there
  `library/` when there is no namespace.
* Repositories have any depth elsewhere (`ghcr.io/org/team/model`).
* Hosts are lower case. Repositories keep their case on Ollama's and Hugging Face's hosts, and are
  folded to lower case elsewhere, where registries allow no other (distribution-spec 1.1).
* The address of a GGUF file means the model that a pull of it makes, `host/path/file:latest`;
  where that spelling loses something of the address, `host/path/file-<hash of it>:latest`.
* Packages are written as PEP 503 normalises them, with host `pypi` and the version as tag.
"""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from olmkit.registry.errors import InvalidDigest, InvalidReference
from olmkit.registry.oci.digest import Digest

DEFAULT_HOST = "registry.ollama.ai"
OLLAMA_HOSTS = (DEFAULT_HOST, "ollama.com")
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
PYPI_HOST = "pypi"
PYPI_SCHEME = "pypi://"
CASE_KEEPING_HOSTS = frozenset({DEFAULT_HOST, "ollama.com", "hf.co", "huggingface.co"})

LENGTH_LIMIT = 1024
"""Most characters of a whole reference."""
_HOST_LIMIT = 255
_REPOSITORY_LIMIT = 255
_TAG_LIMIT = 128
_MARK_DIGITS = 8

_HOST = re.compile(r"[a-z0-9_][a-z0-9._-]*(:[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_TAG = _SEGMENT
_DIGEST_TAG = re.compile(r"sha256-[0-9a-f]{64}")
# PEP 508 names and PEP 440 versions, the latter by their characters only.
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")

_ADDRESS_HINT = "an address looks like https://HOST/PATH/FILE.gguf#sha256=…"
_HINT = "names look like llama3, user/model:tag, host:5000/team/model or pypi://PACKAGE==VERSION"


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's name, complete: what is not spelled is filled in.

    Every instance is checked, however it was made: no part climbs directories, is empty, or holds
    a character outside its alphabet.

    Raises:
        InvalidReference: a part breaks the rules above.
    """

    host: str
    repository: str
    tag: str
    digest: Digest | None = None
    """The manifest's digest, where the name fixes it; a tag of the form `sha256-…` implies it."""

    def __post_init__(self) -> None:
        _check_host(self.host)
        if self.host == PYPI_HOST:
            _check_package(self.repository, self.tag)
        else:
            _check_path(self)
        if self.digest is None and _DIGEST_TAG.fullmatch(self.tag):
            object.__setattr__(self, "digest", Digest(self.tag))

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """The reference that `text` spells.

        Raises:
            InvalidReference: it spells none; the message says which part is wrong.
        """
        if is_address(text):
            return _parse_address(text)
        try:
            return _parse(text)
        except InvalidReference as error:
            shown = text if len(text) <= 100 else text[:100] + "…"
            raise InvalidReference(
                f"invalid model name {shown!r}: {error}", text=text, hint=error.hint or _HINT
            ) from None

    @property
    def short(self) -> str:
        """The shortest spelling that parses to this reference, with a tag or digest always."""
        if self.host == PYPI_HOST:
            name = PYPI_SCHEME + self.repository.removeprefix(DEFAULT_NAMESPACE + "/")
            return name + self._package_suffix()
        name = self.repository
        segments = name.split("/")
        if self.host != DEFAULT_HOST or len(segments) != 2 or _looks_like_host(segments[0]):
            # shorter, it would parse as something else
            return self._with_suffix(f"{self.host}/{name}")
        return self._with_suffix(name.removeprefix(DEFAULT_NAMESPACE + "/"))

    @property
    def full(self) -> str:
        """The spelling with nothing left out, `registry.ollama.ai/library/llama3:latest`."""
        return self._with_suffix(f"{self.host}/{self.repository}")

    def __str__(self) -> str:
        return self.short

    @property
    def version(self) -> str | None:
        """The pinned version of a package; `None` for no pin, and for names of other hosts."""
        if self.host != PYPI_HOST or self.tag == DEFAULT_TAG or _DIGEST_TAG.fullmatch(self.tag):
            return None
        return self.tag

    @property
    def package(self) -> str | None:
        """The package's name; `None` for names of other hosts."""
        if self.host != PYPI_HOST:
            return None
        return self.repository.removeprefix(DEFAULT_NAMESPACE + "/")

    def _package_suffix(self) -> str:
        is_pin = self.tag != DEFAULT_TAG and not _DIGEST_TAG.fullmatch(self.tag)
        pin = f"=={self.tag}" if is_pin else ""
        return pin + (f"@{self.digest}" if self.digest else "")

    def _with_suffix(self, name: str) -> str:
        if self.digest is None:
            return f"{name}:{self.tag}"
        tag = "" if _DIGEST_TAG.fullmatch(self.tag) else f":{self.tag}"
        return f"{name}{tag}@{self.digest}"


def is_address(text: str) -> bool:
    """Whether a text is the web address of a GGUF file, not a model's name."""
    parts = _split_address(text)
    return parts is not None and parts.path.lower().endswith(".gguf")


def shown_address(address: str) -> str:
    """What others may read of the web address of a file: its scheme, host and path. What stands
    before the host may be a password, what follows the path a signature."""
    parts = _split_address(address)
    return "" if parts is None else _shown(parts)


def address_digest(address: str) -> Digest | None:
    """The digest of the file that an address names; `None` when it names none.

    Raises:
        InvalidDigest: what stands after `#` is no digest.
    """
    parts = _split_address(address)
    if parts is None or not parts.fragment:
        return None
    match = re.fullmatch(r"sha256[=:]([0-9a-fA-F]{64})", parts.fragment)
    if match is None:
        text = f"{parts.fragment[:100]!r} is no digest"
        hint = "write #sha256= and 64 hexadecimal digits"
        raise InvalidDigest(text, text=parts.fragment, hint=hint)
    return Digest(f"sha256:{match[1]}")


def _split_address(text: str) -> SplitResult | None:
    if not text.startswith(("http://", "https://")):
        return None
    try:
        return urlsplit(text)
    except ValueError:  # brackets that are no IPv6 address
        return None


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def _parse_address(text: str) -> Reference:
    """The reference of an address. Errors repeat nothing but the name: the rest may hold a
    password."""
    parts = _split_address(text)
    assert parts is not None
    shown = _shown(parts)
    if "@" in parts.netloc or not parts.netloc:
        reason = "it holds a user's name" if parts.netloc else "it has no host"
        raise InvalidReference(
            f"invalid address {shown!r}: {reason}", text=shown, hint=_ADDRESS_HINT
        )
    repository = _repository_of(parts)
    try:
        return Reference(parts.netloc.lower(), repository, DEFAULT_TAG)
    except InvalidReference as error:
        raise InvalidReference(
            f"invalid address {shown!r}: {error}", text=shown, hint=_ADDRESS_HINT
        ) from None


def _repository_of(parts: SplitResult) -> str:
    """The repository of a file's address: its path, in what names are made of.

    Where a character of the address is lost in it, a short hash of the whole tells it from others
    that would get the same name.
    """
    plain = unquote(parts.path).lower().removesuffix(".gguf")
    segments = [part.strip("._-") for part in re.sub(r"[^a-z0-9._/-]+", "-", plain).split("/")]
    name = "/".join(segment for segment in segments if segment)
    if not name and parts.path.rpartition("/")[2].lower() != ".gguf":
        name = "model"  # in a script that no name has a letter of
    is_usual = parts.scheme == "https" or ":" in parts.netloc.rpartition("]")[2]
    is_lossless = f"/{name}.gguf" == parts.path and not parts.query and is_usual
    if is_lossless and len(name) <= _REPOSITORY_LIMIT:
        return name
    whole = f"{parts.scheme}://{parts.netloc.lower()}{parts.path}?{parts.query}"
    mark = hashlib.sha256(whole.encode()).hexdigest()[:_MARK_DIGITS]
    return f"{name[: _REPOSITORY_LIMIT - _MARK_DIGITS - 1].rstrip('._-/')}-{mark}"


def _parse(text: str) -> Reference:
    if len(text) > LENGTH_LIMIT:
        raise _refuse(f"it has {len(text)} characters, more than {LENGTH_LIMIT}")
    rest, digest = _split_digest(text)
    if rest.startswith(PYPI_SCHEME):
        return _parse_package(rest.removeprefix(PYPI_SCHEME), digest)
    if rest.startswith("http://"):
        raise _refuse("http:// is not secure", "leave the scheme out and use --insecure")
    rest = rest.removeprefix("https://")
    name, tag = _split_tag(rest)
    parts = name.split("/")
    if not all(parts):
        raise _refuse("a part is empty")
    host = DEFAULT_HOST
    if len(parts) >= 3 or (len(parts) == 2 and _looks_like_host(parts[0])):
        host = parts.pop(0).lower()
    if len(parts) == 1 and host == DEFAULT_HOST:
        parts.insert(0, DEFAULT_NAMESPACE)
    repository = "/".join(parts)
    if host == PYPI_HOST:
        repository = normalized_package(repository)
    elif host not in CASE_KEEPING_HOSTS:
        repository = repository.lower()
    return Reference(host, repository, tag or _tag_for(digest), digest)


def _parse_package(text: str, digest: Digest | None) -> Reference:
    package, separator, version = text.partition("==")
    if separator and not version:
        raise _refuse("the version after == is empty")
    for operator in ("<", ">", "~", "=", ";", "[", "/", ":", "@"):
        if operator in package:
            raise _refuse(
                f"{operator!r} cannot be in a package's name",
                "name a package as pypi://PACKAGE or pypi://PACKAGE==VERSION",
            )
    if _PACKAGE.fullmatch(package) is None:
        raise _refuse(f"{package[:100]!r} is no package's name")
    repository = f"{DEFAULT_NAMESPACE}/{normalized_package(package)}"
    return Reference(PYPI_HOST, repository, version or _tag_for(digest), digest)


def normalized_package(name: str) -> str:
    """A package's name as indexes compare it: lower case, runs of `-_.` are one `-` (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, separator, digest = text.partition("@")
    if not separator:
        return text, None
    try:
        return rest, Digest(digest)
    except InvalidDigest as error:
        raise _refuse(str(error), error.hint) from None


def _split_tag(text: str) -> tuple[str, str | None]:
    name, separator, tag = text.rpartition(":")
    if not separator or "/" in tag or text.endswith("]"):
        return text, None
    if not tag:
        raise _refuse("the tag after ':' is empty")
    return name, tag


def _tag_for(digest: Digest | None) -> str:
    return DEFAULT_TAG if digest is None else digest.file_name


def _looks_like_host(part: str) -> bool:
    return "." in part or ":" in part or part.lower() == "localhost"


def _refuse(message: str, hint: str | None = None) -> InvalidReference:
    return InvalidReference(message, text="", hint=hint)


def _check_host(host: str) -> None:
    if len(host) > _HOST_LIMIT or _HOST.fullmatch(host) is None:
        raise _refuse(f"{host[:100]!r} is no host")


def _check_path(reference: Reference) -> None:
    repository, tag = reference.repository, reference.tag
    if len(repository) > _REPOSITORY_LIMIT:
        raise _refuse(f"the name has {len(repository)} characters, {_REPOSITORY_LIMIT} are allowed")
    for segment in repository.split("/"):
        if _SEGMENT.fullmatch(segment) is None:
            raise _refuse(f"{segment[:100]!r} is no part of a name")
    if "/" not in repository:
        if reference.host == DEFAULT_HOST:
            raise _refuse(f"{repository[:100]!r} lacks its namespace")
        if not _looks_like_host(reference.host):
            raise _refuse(f"{reference.host!r} is no host")
    if len(tag) > _TAG_LIMIT or _TAG.fullmatch(tag) is None:
        raise _refuse(f"{tag[:100]!r} is no tag")


def _check_package(repository: str, tag: str) -> None:
    package = repository.removeprefix(DEFAULT_NAMESPACE + "/")
    if package == repository or "/" in package or package != normalized_package(package):
        raise _refuse(f"{repository[:100]!r} is no package")
    if len(package) > _REPOSITORY_LIMIT or _PACKAGE.fullmatch(package) is None:
        raise _refuse(f"{package[:100]!r} is no package's name")
    if len(tag) > _TAG_LIMIT or _VERSION.fullmatch(tag) is None:
        raise _refuse(f"{tag[:100]!r} is no version")
