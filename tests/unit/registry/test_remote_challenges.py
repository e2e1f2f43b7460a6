import httpx
import pytest

from olmkit.registry.errors import RemoteMisbehaved, Unauthorized
from olmkit.registry.http.auth import RegistryAuth, is_trusted_realm, parse_challenges
from olmkit.registry.http.credentials import Credential
from olmkit.registry.store.ranges import Ranges

URL = httpx.URL("https://r.example.com/v2/m/")


def test_a_challenge_with_commas_in_quotes_is_one() -> None:
    text = (
        'Basic realm="a", Bearer realm="https://x/t",service="a, b",scope="repository:m:pull,push"'
    )
    found = parse_challenges(text)
    assert [c.scheme for c in found] == ["basic", "bearer"]
    assert found[1].parameters["service"] == "a, b"
    assert found[1].parameters["scope"] == "repository:m:pull,push"


@pytest.mark.parametrize("text", ["", ",,,", "=", '"', 'Bearer realm="', "Bearer a=b c", "\x00"])
def test_no_header_breaks_the_parser(text: str) -> None:
    parse_challenges(text)


@pytest.mark.parametrize(
    ("realm", "expected"),
    [
        ("https://r.example.com/token", True),
        ("https://auth.example.com/token", True),
        ("https://example.org/token", False),
        ("http://r.example.com/token", False),
    ],
)
def test_credentials_go_only_to_token_servers_of_the_same_domain(
    realm: str, expected: bool
) -> None:
    assert is_trusted_realm(URL, httpx.URL(realm)) is expected


def auth(status: int, body: bytes, seen: list[httpx.Request]) -> RegistryAuth:
    def fetch(request: httpx.Request) -> tuple[int, bytes]:
        seen.append(request)
        return status, body

    credential = Credential(username="u", secret="p")
    return RegistryAuth(find_credential=lambda: credential, fetch=fetch)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}', b"\xff"]
)
def test_an_answer_without_a_token_is_told(body: bytes) -> None:
    with pytest.raises(RemoteMisbehaved, match="sent no token"):
        auth(200, body, []).answer(URL, 'Bearer realm="https://r.example.com/t"', None)


def test_a_foreign_realm_is_asked_without_credentials() -> None:
    seen: list[httpx.Request] = []
    header = auth(200, b'{"token": "t"}', seen).answer(URL, 'Bearer realm="https://x.org/t"', None)
    assert header == "Bearer t"
    assert "authorization" not in seen[0].headers


def test_a_refusal_of_the_token_server_says_whose_credentials() -> None:
    with pytest.raises(Unauthorized, match="refused these credentials"):
        auth(401, b"", []).answer(URL, 'Bearer realm="https://r.example.com/t"', None)


BOTH = 'Bearer realm="https://r.example.com/t", Basic realm="r"'


@pytest.mark.parametrize("header", [BOTH, 'Negotiate, Basic realm="r", Bearer realm="nonsense"'])
def test_of_several_challenges_any_that_works_is_answered(header: str) -> None:
    found = auth(401, b"", []).answer(URL, header, None)
    assert found == "Basic dTpw"


def test_a_way_that_was_refused_is_not_tried_again() -> None:
    login = auth(200, b'{"token": "t"}', [])
    tried: set[str] = set()
    first = login.answer(URL, BOTH, None, tried)
    second = login.answer(URL, BOTH, first, tried)
    assert (first, second) == ("Bearer t", "Basic dTpw")
    assert login.answer(URL, BOTH, second, tried) is None


def test_without_a_credential_basic_gives_way_to_a_token_for_anybody() -> None:
    login = RegistryAuth(find_credential=lambda: None, fetch=lambda _: (200, b'{"token": "t"}'))
    header = 'Basic realm="r", Bearer realm="https://r.example.com/t"'
    assert login.answer(URL, header, None) == "Bearer t"


def test_ranges_join_and_show_their_gaps() -> None:
    ranges = Ranges([(10, 20), (0, 5), (20, 30), (3, 6)])
    assert list(ranges) == [(0, 6), (10, 30)]
    assert ranges.prefix_end == 6
    assert ranges.total_bytes == 26
    assert ranges.first_gap(40) == (6, 10)
    ranges.add(6, 10)
    assert ranges.first_gap(40) == (30, 40)
    assert ranges.first_gap(30) is None
