"""Files of a checkpoint: which are taken, and what is refused."""

import json
from pathlib import Path

import pytest

from olmkit.engine.create.convert import convert_directory, directory_files
from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import read_header
from support.checkpoints import write_checkpoint
from support.weights import values, write_safetensors


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_checkpoint("llama", tmp_path / "llama")


@pytest.fixture
def files(llama: Path) -> dict[str, Path]:
    return directory_files(llama)


def refused(files: dict[str, Path], tmp_path: Path) -> str:
    """The error of converting these files; nothing is left behind."""
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    with pytest.raises(ModelNotCreatable) as caught:
        convert_directory(files, out / "x.gguf")
    assert list(out.iterdir()) == []
    return str(caught.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_and_their_companions_are_found_and_others_are_not(llama: Path) -> None:
    for name in ("notes.md", "training_args.bin", "consolidated.safetensors", "vocab.txt"):
        (llama / name).write_bytes(b"{}")
    (llama / "1_Pooling").mkdir()
    (llama / "1_Pooling" / "config.json").write_text("{}")
    assert list(directory_files(llama)) == [
        "1_Pooling/config.json",
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_a_link_within_the_directory_is_followed_and_one_out_of_it_is_not(
    llama: Path, tmp_path: Path
) -> None:
    (llama / "real").mkdir()
    inside = (llama / "config.json").rename(llama / "real" / "config.json")
    (llama / "config.json").symlink_to(inside)
    assert "config.json" in directory_files(llama)
    outside = tmp_path / "secret.json"
    outside.write_text("{}")
    (llama / "added_tokens.json").symlink_to(outside)
    with pytest.raises(ModelNotCreatable, match=r"insecure path: added_tokens\.json"):
        directory_files(llama)


def test_a_link_into_a_download_cache_comes_with_advice(llama: Path, tmp_path: Path) -> None:
    cache = tmp_path / ".cache"
    cache.mkdir()
    moved = (llama / "config.json").rename(cache / "config.json")
    (llama / "config.json").symlink_to(moved)
    with pytest.raises(ModelNotCreatable) as caught:
        directory_files(llama)
    assert caught.value.hint is not None and "--local-dir" in caught.value.hint


def test_pickles_are_never_read(tmp_path: Path) -> None:
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelNotCreatable, match="can run code"):
        directory_files(tmp_path)
    with pytest.raises(ModelNotCreatable, match="can run code"):
        _ = Checkpoint({"pytorch_model.bin": pickle}).tensors
    pickle.unlink()
    with pytest.raises(ModelNotCreatable, match="no safetensors files found"):
        directory_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../config.json", "a/../../b.json", "", ".", "a\\b.json", "a\0b"]
)
def test_a_name_that_leads_out_of_the_directory_is_refused(name: str, llama: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="file path must be relative"):
        Checkpoint({name: llama / "config.json"})


def test_a_part_that_the_index_names_has_to_be_there(
    files: dict[str, Path], tmp_path: Path
) -> None:
    part = "model-00002-of-00002.safetensors"
    del files[part]
    assert (
        refused(files, tmp_path) == f"{part} is named in model.safetensors.index.json and missing"
    )


def test_an_index_from_another_time_does_not_count_beside_the_whole_file(
    llama: Path, tmp_path: Path
) -> None:
    found = Checkpoint(directory_files(llama)).tensors
    tensors = {name: ("F32", values(name, tensor.shape)) for name, tensor in found.items()}
    write_safetensors(llama / "model.safetensors", tensors)
    for part in llama.glob("model-*.safetensors"):
        part.unlink()
    files = directory_files(llama)
    assert "model.safetensors.index.json" in files
    convert_directory(files, tmp_path / "x.gguf")
    assert read_header(tmp_path / "x.gguf").block_count


def test_a_head_beside_tied_embeddings_is_left_out(llama: Path, tmp_path: Path) -> None:
    convert_directory(directory_files(llama), tmp_path / "own.gguf")
    edit(llama / "config.json", tie_word_embeddings=True)
    convert_directory(directory_files(llama), tmp_path / "tied.gguf")
    own, tied = (
        {tensor.name for tensor in read_header(tmp_path / name).tensors}
        for name in ("own.gguf", "tied.gguf")
    )
    assert own - tied == {"output.weight"}


def test_yarn_without_its_original_length_has_the_models(tmp_path: Path) -> None:
    qwen = write_checkpoint("qwen2", tmp_path / "qwen2")
    edit(qwen / "config.json", rope_scaling={"type": "yarn", "factor": 4.0})
    convert_directory(directory_files(qwen), tmp_path / "x.gguf")
    header = read_header(tmp_path / "x.gguf")
    assert header.own_integer("rope.scaling.original_context_length") == header.context_length


def test_the_index_cannot_name_a_file_outside(files: dict[str, Path], tmp_path: Path) -> None:
    index = {"weight_map": {"x": "../../../etc/passwd"}}
    files["model.safetensors.index.json"].write_text(json.dumps(index))
    assert "../../../etc/passwd is named in" in refused(files, tmp_path)


def test_a_tensor_that_the_index_names_has_to_be_there(
    files: dict[str, Path], tmp_path: Path
) -> None:
    index = json.loads(files["model.safetensors.index.json"].read_text())
    index["weight_map"]["model.more.weight"] = "model-00001-of-00002.safetensors"
    files["model.safetensors.index.json"].write_text(json.dumps(index))
    assert "model.more.weight is in" in refused(files, tmp_path)


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": 1}}', "{", '"text"'])
def test_an_index_of_another_form_is_refused(
    index: str, files: dict[str, Path], tmp_path: Path
) -> None:
    files["model.safetensors.index.json"].write_text(index)
    assert "model.safetensors.index.json" in refused(files, tmp_path)


def test_a_tensor_in_two_parts_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    del files["model.safetensors.index.json"]
    files["model-3.safetensors"] = files["model-00001-of-00002.safetensors"]
    assert "is both in" in refused(files, tmp_path)


def test_the_same_weights_in_one_consolidated_file_are_left_alone(
    files: dict[str, Path], tmp_path: Path
) -> None:
    del files["model.safetensors.index.json"]
    files["consolidated.safetensors"] = files["model-00001-of-00002.safetensors"]
    convert_directory(files, tmp_path / "x.gguf")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{}", b"[" * 100_000])
def test_a_broken_json_file_is_an_error_that_names_it(
    name: str, content: bytes, files: dict[str, Path], tmp_path: Path
) -> None:
    files[name].write_bytes(content)
    assert name in refused(files, tmp_path)


def test_broken_advice_on_sampling_does_not_matter(files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    convert_directory(files, target)
    assert read_header(target).metadata["general.sampling.temp"] == pytest.approx(0.6)
    files["generation_config.json"].write_text("{,}")
    convert_directory(files, target)
    assert "general.sampling.temp" not in read_header(target).metadata


def test_a_file_over_the_limit_is_not_read_into_memory(files: dict[str, Path]) -> None:
    with pytest.raises(ModelNotCreatable, match=r"^config.json is larger than 50 bytes$"):
        Checkpoint(files, limit_bytes=50).find_object("config.json")


def test_an_unknown_architecture_is_refused_with_a_list_of_the_known(
    files: dict[str, Path], tmp_path: Path
) -> None:
    edit(files["config.json"], architectures=["RWKVForCausalLM"])
    message = refused(files, tmp_path)
    assert message.startswith("config.json: unsupported architecture RWKVForCausalLM; supported")
    for name in ("BertModel", "Gemma3ForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM"):
        assert name in message


@pytest.mark.parametrize("architectures", [None, [], "LlamaForCausalLM", [7], {}])
def test_a_configuration_without_architecture_is_refused(
    architectures: object, files: dict[str, Path], tmp_path: Path
) -> None:
    edit(files["config.json"], architectures=architectures)
    assert "unsupported architecture none" in refused(files, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", -1),
        ("num_hidden_layers", "two"),
        ("num_hidden_layers", True),
        ("num_attention_heads", 0),
        ("num_attention_heads", 2**40),
        ("num_attention_heads", 3),
        ("num_key_value_heads", 7),
        ("hidden_size", None),
        ("hidden_size", 0),
        ("intermediate_size", [1]),
        ("vocab_size", 10**9),
        ("vocab_size", 0),
        ("vocab_size", 5),
        ("rms_norm_eps", "NaN"),
        ("rope_scaling", [1]),
        ("rope_theta", {}),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 3),
    ],
)
def test_a_hyperparameter_that_makes_no_sense_is_refused(
    key: str, value: object, files: dict[str, Path], tmp_path: Path
) -> None:
    edit(files["config.json"], **{key: value})
    refused(files, tmp_path)


def test_a_tensor_without_a_place_in_the_model_is_refused(
    files: dict[str, Path], tmp_path: Path
) -> None:
    edit(files["config.json"], architectures=["Qwen3ForCausalLM"])
    files["config.json"].write_text(files["config.json"].read_text().replace("llama", "qwen3"))
    part = files["model-00001-of-00002.safetensors"]
    part.write_bytes(part.read_bytes().replace(b"mlp.up_proj", b"mlp.up_prob"))
    index = files["model.safetensors.index.json"]
    index.write_text(index.read_text().replace("mlp.up_proj", "mlp.up_prob"))
    other = files["model-00002-of-00002.safetensors"]
    other.write_bytes(other.read_bytes().replace(b"mlp.up_proj", b"mlp.up_prob"))
    assert "has no place in a qwen3 model" in refused(files, tmp_path)


def test_a_way_of_pooling_that_is_named_has_to_be_there_and_known(tmp_path: Path) -> None:
    files = directory_files(write_checkpoint("bert", tmp_path / "bert"))
    name = next(name for name in files if "Pooling" in name)
    without = {key: path for key, path in files.items() if key != name}
    assert f"{name} is missing" in refused(without, tmp_path)
    files[name].write_text('{"pooling_mode_max_tokens": true}')
    assert "only mean, cls and last-token pooling" in refused(files, tmp_path)
