import base64
from pathlib import Path

import pytest

from olmkit.cli.chat.media import MAX_TEXT_BYTES, extract_files, insert_texts, sniff
from olmkit.cli.chat.slash import forgotten_text
from olmkit.cli.errors import CliError
from support.nobody import as_nobody

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.png", "my cat.png", "b.PNG"):
        (tmp_path / name).write_bytes(PNG)
    return tmp_path


def test_paths_are_taken_out_of_the_prompt_and_files_encoded(folder: Path) -> None:
    text, (file,) = extract_files("what is in ./cat.png ?")
    assert text == "what is in  ?"
    assert (file.kind, base64.b64decode(file.data)) == ("image", PNG)


def test_quotes_escapes_and_several_files(folder: Path) -> None:
    text, files = extract_files(rf"'{folder}/cat.png' and ./my\ cat.png and ./b.PNG")
    assert text == "and  and"
    assert [Path(file.path).name for file in files] == ["cat.png", "my cat.png", "b.PNG"]


def test_bare_names_and_missing_files_are_words(folder: Path) -> None:
    prompt = "cat.png ./missing.png"
    assert extract_files(prompt) == (prompt, [])


def test_other_files_are_refused(folder: Path) -> None:
    (folder / "x.jpg").write_bytes(b"#!/bin/sh")
    with pytest.raises(CliError, match="no JPEG, PNG, WebP or WAV"):
        extract_files("./x.jpg")


def test_kinds_are_known_by_their_first_bytes() -> None:
    assert sniff(b"\xff\xd8\xff\xe0") == "image"
    assert sniff(b"RIFF\0\0\0\0WEBP") == "image"
    assert sniff(b"RIFF\0\0\0\0WAVE") == "audio"
    assert sniff(b"GIF89a") is None


def test_texts_stand_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("one\ntwo")
    (tmp_path / "c.py").write_text("x = 1\n")
    prompt = f"Compare @{tmp_path}/a\\ b.txt with @{tmp_path}/c.py? Not me@{tmp_path}/c.py"
    text, paths = insert_texts(prompt)
    assert paths == [f"{tmp_path}/a b.txt", f"{tmp_path}/c.py"]
    assert text == (
        f"Compare {tmp_path}/a b.txt:\n```\none\ntwo\n```\n with {tmp_path}/c.py:\n```\nx = 1\n"
        f"```\n? Not me@{tmp_path}/c.py"
    )


def test_names_without_a_file_stay_and_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\xff\x00")
    (tmp_path / "large.txt").write_bytes(b"a" * (MAX_TEXT_BYTES + 1))
    kept = f"@{tmp_path}/absent @ada @{tmp_path}"
    assert insert_texts(kept) == (kept, [])
    for name, said in (("x.bin", "is no text"), ("large.txt", "larger than")):
        with pytest.raises(CliError, match=said):
            insert_texts(f"@{tmp_path}/{name}")


def test_a_word_that_is_too_long_for_a_path_is_a_word() -> None:
    for prompt in (f"@/{'a' * 300}", f"/{'a' * 300}.png", "@/a\0b", "/a\0b.png"):
        assert insert_texts(prompt) == (prompt, [])
        assert extract_files(prompt) == (prompt, [])


def test_a_path_into_a_shut_directory_is_told(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    with as_nobody(), pytest.raises(CliError, match=f"cannot read {shut}/a.png: permission denied"):
        extract_files(f"{shut}/a.png")
    with as_nobody(), pytest.raises(CliError, match=f"cannot read {shut}/a: permission denied"):
        insert_texts(f"@{shut}/a")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("one\ntwo", ": one"),
        ("\n\n one", ": one"),
        ("", "."),
        (" \n", "."),
    ],
)
def test_a_question_without_words_is_forgotten_too(question: str, said: str) -> None:
    assert forgotten_text(question) == f"Forgot the question and its answer{said}"
