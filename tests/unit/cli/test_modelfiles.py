"""What a Modelfile's FROM, ADAPTER and DRAFT mean on this disk."""

import os
from pathlib import Path

import pytest

from olmkit.cli.building.modelfiles import (
    Parts,
    checked_parts,
    create_request,
    find_parts,
    read_parts,
)
from olmkit.modelfile.parser import parse
from olmkit.modelfile.problems import ModelfileErrors


def parts(text: str, directory: Path) -> Parts:
    return find_parts(parse(text), directory)


def touch(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_name_stays_a_name(tmp_path: Path) -> None:
    assert parts("FROM llama3.2:1b", tmp_path) == Parts(name="llama3.2:1b")
    assert parts("FROM pypi://x.gguf", tmp_path) == Parts(name="pypi://x.gguf")


def test_files_are_found_beside_the_modelfile_and_by_absolute_path(tmp_path: Path) -> None:
    touch(tmp_path, "a.gguf", "sub/b.gguf")
    found = parts(f"FROM ./a.gguf\nFROM {tmp_path}/sub/b.gguf", tmp_path)
    assert found == Parts(
        files={"a.gguf": tmp_path / "a.gguf", "b.gguf": tmp_path / "sub" / "b.gguf"}
    )


def test_the_home_directory_may_be_abbreviated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "a.gguf")
    assert parts("FROM ~/a.gguf", Path("/")).files == {"a.gguf": tmp_path / "a.gguf"}


@pytest.mark.parametrize("value", ["./missing", "/missing/model", "missing.gguf", "~nobody/x"])
def test_a_path_that_is_not_there_is_an_error_at_its_place(value: str, tmp_path: Path) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parts(f"SYSTEM x\nFROM {value}", tmp_path)
    (problem,) = caught.value.diagnostics()
    assert (problem.span.line, problem.span.column) == (2, 6)
    assert problem.message == f"no such file: {value}"


def test_every_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./a.gguf\nADAPTER ./b.gguf\nADAPTER name", tmp_path)
    assert [problem.span.line for problem in caught.value.diagnostics()] == [1, 2, 3]


def test_a_directory_gives_weights_configuration_and_tokenizer(tmp_path: Path) -> None:
    touch(
        tmp_path / "m",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "2_Dense/model.safetensors",
        "other.safetensors",
        "config.json",
        "1_Pooling/config.json",
        "tokenizer.model",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "vocab.txt",
        "pytorch_model.bin",
        "notes.txt",
    )
    assert sorted(parts("FROM ./m", tmp_path).files) == [
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "tokenizer.model",
        "vocab.txt",
    ]


def test_gguf_files_of_a_directory_count_when_there_are_no_safetensors(tmp_path: Path) -> None:
    touch(tmp_path / "m", "a.gguf", "mmproj.gguf", "config.json", "tokenizer.model")
    assert sorted(parts("FROM ./m", tmp_path).files) == ["a.gguf", "mmproj.gguf"]


def test_a_directory_called_like_the_model_does_not_hide_it(tmp_path: Path) -> None:
    touch(tmp_path, "llama3/notes.txt")
    assert parts("FROM llama3", tmp_path) == Parts(name="llama3")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["notes.txt"], "no safetensors or GGUF files in"),
        (["pytorch_model.bin"], "holds pickled weights only"),
    ],
)
def test_a_directory_without_weights_is_an_error(
    names: list[str], message: str, tmp_path: Path
) -> None:
    touch(tmp_path / "m", *names)
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./m", tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt"])
def test_a_pickled_file_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelfileErrors, match="1 error") as caught:
        parts(f"FROM ./{name}", tmp_path)
    assert "a pickle could run any code" in str(caught.value)


def test_a_gguf_file_called_bin_is_one(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"GGUF\x03\0\0\0")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    assert sorted(parts("FROM ./model.bin", tmp_path).files) == ["model.bin"]
    assert sorted(parts("FROM .", tmp_path).files) == ["model.bin"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("llama3 # the small one", "a comment needs a line of its own"),
        ("hf.co/a b", "names look like"),
    ],
)
def test_a_from_that_can_be_no_name_is_told_with_its_place(
    name: str, advice: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parts(f"FROM {name}", tmp_path)
    (problem,) = caught.value.diagnostics()
    assert (problem.span.line, problem.span.column, problem.code) == (1, 6, "invalid-value")
    assert "invalid model name" in problem.message
    assert advice in (problem.hint or "")


def test_what_is_no_file_and_no_directory_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./pipe\nDRAFT /dev/null", tmp_path)
    assert [problem.message for problem in caught.value.diagnostics()] == [
        "./pipe is neither a file nor a directory",
        "/dev/null is neither a file nor a directory",
    ]


def test_links_out_of_a_directory_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "secret.json", "m/model.safetensors")
    (tmp_path / "m" / "config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./m", tmp_path)
    assert "leads out of" in str(caught.value)


def test_links_inside_and_a_linked_directory_are_fine(tmp_path: Path) -> None:
    touch(tmp_path / "m", "model-a.safetensors")
    (tmp_path / "m" / "model-b.safetensors").symlink_to("model-a.safetensors")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    found = parts("FROM ./link", tmp_path)
    assert sorted(found.files) == ["model-a.safetensors", "model-b.safetensors"]


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a/m.gguf", "b/m.gguf")
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./a/m.gguf\nFROM ./b/m.gguf", tmp_path)
    assert "two files of the model are called m.gguf" in str(caught.value)


def test_files_of_drafts_add_up_and_are_told_from_the_models(tmp_path: Path) -> None:
    touch(tmp_path, "m.gguf", "a/d.gguf", "b/d.gguf", "c/model.safetensors", "c/config.json")
    text = "FROM ./m.gguf\nDRAFT ./a/d.gguf\nDRAFT ./c"
    modelfile = parse(text)
    body = create_request("m", modelfile, find_parts(modelfile, tmp_path), lambda p: f"d:{p.name}")
    assert body["files"] == {"m.gguf": "d:m.gguf"}
    assert body["draft_files"] == {
        "d.gguf": "d:d.gguf",
        "model.safetensors": "d:model.safetensors",
        "config.json": "d:config.json",
    }
    with pytest.raises(ModelfileErrors) as caught:
        parts(f"{text}\nDRAFT ./b/d.gguf", tmp_path)
    (problem,) = caught.value.diagnostics()
    assert (problem.span.line, problem.message) == (4, "two files of the draft are called d.gguf")


def test_a_draft_is_not_a_name(tmp_path: Path) -> None:
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM llama3\nDRAFT llama3:1b", tmp_path)
    assert "no such file: llama3:1b" in str(caught.value)


@pytest.mark.parametrize("draft", ["m.gguf", "sub/../m.gguf", "link.gguf", "{}/m.gguf"])
def test_a_draft_cannot_be_the_model_under_another_spelling(draft: str, tmp_path: Path) -> None:
    touch(tmp_path, "m.gguf", "sub/x")
    (tmp_path / "link.gguf").symlink_to("m.gguf")
    value = draft.format(tmp_path)
    with pytest.raises(ModelfileErrors) as caught:
        parts(f"FROM ./m.gguf\nDRAFT {value}", tmp_path)
    (problem,) = caught.value.diagnostics()
    assert (problem.span.line, problem.span.column, problem.code) == (2, 7, "same-path")
    assert problem.message == f"DRAFT must not reference the same local path as FROM: {value}"


def test_the_request_says_what_the_file_says_and_no_more(tmp_path: Path) -> None:
    touch(tmp_path, "a.gguf", "l.gguf")
    modelfile = parse(
        "FROM ./a.gguf\nADAPTER ./l.gguf\nPARAMETER stop x\nPARAMETER stop y\n"
        'PARAMETER num_ctx 4096\nSYSTEM ""\nLICENSE one\nLICENSE two\nMESSAGE user hi'
    )
    body = create_request("m", modelfile, find_parts(modelfile, tmp_path), lambda p: f"d:{p.name}")
    assert body == {
        "model": "m",
        "files": {"a.gguf": "d:a.gguf"},
        "adapters": {"l.gguf": "d:l.gguf"},
        "parameters": {"stop": ["x", "y"], "num_ctx": 4096},
        "system": "",
        "license": ["one", "two"],
        "messages": [{"role": "user", "content": "hi"}],
    }
    named = parse("FROM llama3")
    assert create_request("m", named, find_parts(named, tmp_path), str) == {
        "model": "m",
        "from": "llama3",
    }


def test_one_shard_stands_for_all_of_its_model(tmp_path: Path) -> None:
    names = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    touch(tmp_path, *names)
    assert sorted(parts(f"FROM ./{names[1]}", tmp_path).files) == names
    every = "\n".join(f"FROM ./{name}" for name in names)
    assert sorted(parts(every, tmp_path).files) == names
    (tmp_path / names[2]).unlink()
    for text in (f"FROM ./{names[0]}", "FROM ."):
        with pytest.raises(ModelfileErrors) as caught:
            parts(text, tmp_path)
        assert "m-00003-of-00003.gguf missing" in str(caught.value)


def test_a_file_that_hides_a_models_name_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "llama3")
    found = parts("FROM llama3", tmp_path)
    assert found.files == {"llama3": tmp_path / "llama3"}
    (warning,) = found.warnings
    assert (warning.code, warning.suggestion) == ("shadowed-name", "./llama3")
    assert parts("FROM ./llama3", tmp_path).warnings == ()


def test_files_beside_a_models_name_are_told_to_count_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.gguf")
    (warning,) = parts("FROM llama3\nFROM ./a.gguf", tmp_path).warnings
    assert warning.span.line == 2


def test_a_broken_template_and_a_missing_file_are_told_together(tmp_path: Path) -> None:
    modelfile = parse('FROM ./a.gguf\nTEMPLATE """{{ .Prompt }}\n{{ if }}{{ end }}"""')
    with pytest.raises(ModelfileErrors) as caught:
        checked_parts(modelfile, tmp_path)
    found = [(problem.span.line, problem.code) for problem in caught.value.diagnostics()]
    assert found == [(1, "invalid-value"), (3, "invalid-template")]


def test_errors_of_text_template_and_files_are_told_together_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "m")
    text = "FROM m\nDRAFT m\nPARAMTER x 1\nADAPTER ./lora\nTEMPLATE {{ x }}\nPARAMETER top_p 2\n"
    with pytest.raises(ModelfileErrors) as caught:
        read_parts(lambda: parse(text), tmp_path)
    found = [(problem.span.line, problem.code) for problem in caught.value.diagnostics()]
    assert found == [
        (1, "shadowed-name"),
        (2, "same-path"),
        (3, "unknown-instruction"),
        (4, "invalid-value"),
        (5, "invalid-template"),
        (6, "out-of-range"),
    ]
    modelfile, found_parts = read_parts(lambda: parse("FROM ./m"), tmp_path)
    assert (modelfile.from_, list(found_parts.files)) == ("./m", ["m"])


def test_behind_a_quote_that_never_closes_nothing_is_taken_for_a_file(tmp_path: Path) -> None:
    text = 'ADAPTER ./lora\nSYSTEM """\nYou see.\nFROM the start you know all.\nTEMPLATE {{ x }}\n'
    with pytest.raises(ModelfileErrors) as caught:
        read_parts(lambda: parse(text), tmp_path)
    found = [(problem.span.line, problem.code) for problem in caught.value.diagnostics()]
    assert found == [(1, "invalid-value"), (2, "unclosed-quote")]


def test_a_link_into_a_cache_gets_the_hint_how_to_download_files(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/hub/blobs/abc", "m/config.json")
    (tmp_path / "m" / "model.safetensors").symlink_to(tmp_path / ".cache/hub/blobs/abc")
    with pytest.raises(ModelfileErrors) as caught:
        parts("FROM ./m", tmp_path)
    assert "--local-dir" in str(caught.value)
