"""Tokenizers of checkpoints: vocabularies, special tokens, pre-tokenizers, templates."""

import json
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.create.convert.checkpoint import Checkpoint
from olmkit.engine.create.convert.tokenizers.detect import decoder_vocabulary
from olmkit.engine.create.convert.tokenizers.pretokenizer import pretokenizer_name
from olmkit.engine.create.convert.tokenizers.sentencepiece import read_pieces
from olmkit.engine.create.convert.tokenizers.special import special_tokens
from olmkit.engine.create.convert.tokenizers.vocabulary import TokenType
from olmkit.engine.create.convert.tokenizers.wordpiece import wordpiece
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.writer import Metadata
from support.tokenizers import (
    added,
    bpe_parts,
    byte_level_bpe,
    sentencepiece_model,
    sentencepiece_pieces,
)

Json = dict[str, Any]


def checkpoint(directory: Path, **contents: Any) -> Checkpoint:
    """Files named by keyword (`config_json` for config.json), beside those already there."""
    for key, value in contents.items():
        stem, _, suffix = key.rpartition("_")
        text = value if isinstance(value, str) else json.dumps(value)
        (directory / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    files = (path for path in directory.rglob("*") if path.is_file())
    return Checkpoint({path.relative_to(directory).as_posix(): path for path in files})


# --- WordPiece ------------------------------------------------------------------------------


def test_wordpiece_marks_word_starts_and_bares_continuations(tmp_path: Path) -> None:
    vocabulary = wordpiece(
        checkpoint(tmp_path, vocab_txt="[PAD]\n[UNK]\nhello\n##ing\n##\n"), size=6
    )
    assert vocabulary.tokens == ["[PAD]", "[UNK]", "\u2581hello", "ing", "", "\u2581[PAD5]"]
    assert vocabulary.types[:2] == [TokenType.CONTROL] * 2
    assert vocabulary.types[5] is TokenType.UNUSED


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="the model has 2 tokens"):
        wordpiece(checkpoint(tmp_path, vocab_txt="a\nb\nc\n"), size=2)


def test_a_model_without_any_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match=r"vocab\.txt is missing"):
        wordpiece(checkpoint(tmp_path), size=2)
    with pytest.raises(ModelNotCreatable, match=r"tokenizer\.json and tokenizer\.model"):
        decoder_vocabulary(checkpoint(tmp_path), 10)


# --- BPE ------------------------------------------------------------------------------------

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
SMALL = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{LETTERS}*{SMALL}+|[^\r\n\p{{L}}\p{{N}}]?{LETTERS}+{SMALL}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> Json:
    regex = {"Regex": pattern}
    return {"type": "Split", "pattern": regex, "behavior": behavior, "invert": invert}


def sequence(*steps: Json) -> Json:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize(
    ("step", "whole_words", "name"),
    [
        (sequence(split(LLAMA3), BYTE_LEVEL), True, "llama-bpe"),
        (sequence(split(LLAMA3), BYTE_LEVEL), False, "dbrx"),
        (sequence(split(LLAMA3, "Removed", invert=True), BYTE_LEVEL), False, "dbrx"),
        (sequence(split(LLAMA3.replace("{1,3}", "")), BYTE_LEVEL), False, "qwen2"),
        (sequence(split(TEKKEN), BYTE_LEVEL), True, "tekken"),
        ({**BYTE_LEVEL, "use_regex": True}, False, "gpt-2"),
        ({"type": "ByteLevel"}, False, "gpt-2"),
        (
            sequence({"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}),
            False,
            "smollm",
        ),
    ],
)
def test_the_pre_tokenizer_is_named_by_what_it_does(
    step: Json, whole_words: bool, name: str
) -> None:
    tokenizer = {"pre_tokenizer": step, "model": {"ignore_merges": whole_words}}
    assert pretokenizer_name(tokenizer) == name


@pytest.mark.parametrize(
    "step",
    [
        None,
        split(LLAMA3, "MergedWithNext"),
        sequence(split(LLAMA3 + "|x"), BYTE_LEVEL),
        sequence(split(LLAMA3), split(LLAMA3), BYTE_LEVEL),
        {"type": "ByteLevel", "add_prefix_space": True},
        {"type": "Whitespace"},
        7,
    ],
)
def test_a_pre_tokenizer_that_llama_cpp_lacks_is_refused(step: Any) -> None:
    with pytest.raises(ModelNotCreatable, match=r"llama\.cpp has no pre-tokenizer like"):
        pretokenizer_name({"pre_tokenizer": step, "model": {}})


def bpe(directory: Path, **arguments: Any) -> Metadata:
    size = byte_level_bpe(directory, LLAMA3, ["<|begin|>", "<|end|>"], **arguments)
    return decoder_vocabulary(checkpoint(directory), size + 2)


def test_a_bpe_has_tokens_types_and_merges(tmp_path: Path) -> None:
    metadata = bpe(tmp_path)
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list) and isinstance(types, list)
    assert tokens[-5:] == ["<|begin|>", "<|end|>", "<tool_call>", "[PAD321]", "[PAD322]"]
    control, user, unused = TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED
    assert types[-6:] == [TokenType.NORMAL, control, control, user, unused, unused]
    merges = metadata["tokenizer.ggml.merges"]
    assert isinstance(merges, list)
    assert merges[:2] == ["t h", "th e"]


def test_both_forms_of_merges_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert bpe(tmp_path / "a") == bpe(tmp_path / "b", old_merges=True)


def test_a_space_within_a_merge_is_written_as_byte_level_bpe_does(tmp_path: Path) -> None:
    size = byte_level_bpe(tmp_path, LLAMA3, [])
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["a b", "c"]]
    metadata = decoder_vocabulary(checkpoint(tmp_path, tokenizer_json=tokenizer), size)
    assert metadata["tokenizer.ggml.merges"] == ["a\u0120b c"]


@pytest.mark.parametrize("merges", [None, [], "a b", [["a"]], ["a b c"], [["a", 1]], [["", "b"]]])
def test_merges_of_another_form_are_refused(merges: Any, tmp_path: Path) -> None:
    size = byte_level_bpe(tmp_path, LLAMA3, [])
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = merges
    with pytest.raises(ModelNotCreatable, match="merge"):
        decoder_vocabulary(checkpoint(tmp_path, tokenizer_json=tokenizer), size)


def test_a_unigram_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}
    with pytest.raises(ModelNotCreatable, match="no BPE tokenizer but Unigram"):
        decoder_vocabulary(checkpoint(tmp_path, tokenizer_json=tokenizer), 5)


def test_byte_fallback_pieces_score_in_the_order_of_their_merges(tmp_path: Path) -> None:
    characters = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abc"]
    vocab, _ = bpe_parts(characters, "\u2581")
    tokenizer = {
        "added_tokens": [added(0, "<unk>"), added(1, "<s>")],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "\u2581"}],
        },
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "vocab": {**vocab, "ab": len(vocab), "abc": len(vocab) + 1},
            "merges": [["ab", "c"], ["a", "b"], ["a", "bc"]],
        },
    }
    size = len(vocab) + 2
    metadata = decoder_vocabulary(checkpoint(tmp_path, tokenizer_json=tokenizer), size)
    scores, types = metadata["tokenizer.ggml.scores"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(scores, list) and isinstance(types, list)
    assert scores[-2:] == [-1.0, 0.0]
    assert (types[0], types[2]) == (TokenType.CONTROL, TokenType.BYTE)
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is True


# --- sentencepiece --------------------------------------------------------------------------


def test_a_sentencepiece_model_is_read_without_its_library(tmp_path: Path) -> None:
    sentencepiece_model(tmp_path / "tokenizer.model")
    pieces = read_pieces((tmp_path / "tokenizer.model").read_bytes())
    expected = sentencepiece_pieces()
    assert [(text, score) for text, score, _ in pieces] == [(t, s) for t, s, _ in expected]
    kinds = {text: kind for text, _, kind in pieces}
    assert kinds["<unk>"] is TokenType.UNKNOWN
    assert kinds["<s>"] is TokenType.CONTROL
    assert kinds["<0x0A>"] is TokenType.BYTE
    assert kinds["<mask>"] is TokenType.NORMAL
    assert kinds["<spare>"] is TokenType.UNUSED


@pytest.mark.parametrize(
    "content", [b"", b"\x0a", b"\x0a\xff\xff\xff", b"GGUF", b"\x0a\x04\x0a\x02\xff\xfe"]
)
def test_something_else_is_no_sentencepiece_model(content: bytes) -> None:
    with pytest.raises(ModelNotCreatable, match=r"tokenizer\.model is not a sentencepiece model"):
        read_pieces(content)


def test_added_tokens_lie_over_pieces_and_those_past_the_end_are_left_out(
    tmp_path: Path,
) -> None:
    count = sentencepiece_model(tmp_path / "tokenizer.model")
    files = checkpoint(
        tmp_path,
        added_tokens_json={"<extra>": count, "<far>": count + 50},
        tokenizer_config_json={
            "added_tokens_decoder": {
                "1": {"content": "<s>", "special": True},
                str(count + 1): {"content": "\u2581\u2581", "special": False},
                str(count + 2): {"content": "<|looks|>", "special": False},
                str(count + 60): {"content": "<image>", "special": True},
            }
        },
        tokenizer_json={"added_tokens": [added(1, "<S>"), added(count + 3, "<hole>")]},
    )
    metadata = decoder_vocabulary(files, count + 5)
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list) and isinstance(types, list)
    assert tokens[1] == "<s>"
    assert tokens[count:] == ["<extra>", "  ", "<|looks|>", "<hole>", f"[PAD{count + 4}]"]
    user, control = TokenType.USER_DEFINED, TokenType.CONTROL
    assert types[count:] == [user, user, control, control, TokenType.UNUSED]
    trusted = decoder_vocabulary(files, count + 5, trusts_flags=True)
    trusted_types = trusted["tokenizer.ggml.token_type"]
    assert isinstance(trusted_types, list)
    assert trusted_types[count + 2] == user


# --- special tokens -------------------------------------------------------------------------


def special(directory: Path, size: int = 100, **contents: Any) -> Metadata:
    metadata = special_tokens(checkpoint(directory, **contents), size=size)
    return {key.removeprefix("tokenizer."): value for key, value in metadata.items()}


def test_special_tokens_are_found_by_name_then_by_id(tmp_path: Path) -> None:
    assert special(
        tmp_path,
        tokenizer_json={"added_tokens": [added(7, "<eos>"), added(8, "<pad>")]},
        tokenizer_config_json={
            "eos_token": {"content": "<eos>"},
            "pad_token": "<pad>",
            "unk_token": None,
            "add_eos_token": True,
        },
        config_json={"bos_token_id": 3, "eos_token_id": 99, "pad_token_id": [1]},
    ) == {
        "ggml.bos_token_id": 3,
        "ggml.eos_token_id": 7,
        "ggml.padding_token_id": 8,
        "ggml.add_eos_token": True,
    }


def test_ids_outside_of_the_vocabulary_are_left_out(tmp_path: Path) -> None:
    config = {"bos_token_id": 100, "eos_token_id": -1, "unk_token_id": True}
    assert special(tmp_path, config_json=config) == {}


def test_a_bert_separates_and_ends_with_what_its_template_says(tmp_path: Path) -> None:
    cls, sep = ({"SpecialToken": {"id": name}} for name in ("[CLS]", "[SEP]"))
    a, b = ({"Sequence": {"id": name}} for name in "AB")
    metadata = special(
        tmp_path,
        tokenizer_json={
            "added_tokens": [added(1, "[CLS]"), added(2, "[SEP]")],
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [cls, a, sep],
                "pair": [cls, a, sep, b, sep],
            },
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]},
        },
        tokenizer_config_json={"cls_token": "[CLS]", "sep_token": "[SEP]"},
    )
    assert metadata == {
        "ggml.bos_token_id": 1,
        "ggml.eos_token_id": 2,
        "ggml.seperator_token_id": 2,
        "ggml.add_bos_token": True,
        "ggml.add_eos_token": True,
        "ggml.add_sep_token": False,
        "ggml.normalizer.lowercase": True,
    }


def test_roberta_puts_all_its_tokens(tmp_path: Path) -> None:
    processor = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
    metadata = special(
        tmp_path,
        tokenizer_json={
            "added_tokens": [added(0, "<s>"), added(2, "</s>")],
            "post_processor": processor,
        },
        tokenizer_config_json={"bos_token": "<s>", "eos_token": "</s>"},
    )
    assert metadata["ggml.seperator_token_id"] == 2
    assert all(metadata[f"ggml.add_{kind}_token"] is True for kind in ("bos", "eos", "sep"))


def test_another_token_at_the_end_than_the_named_one_ends_a_turn(tmp_path: Path) -> None:
    a, end = {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<end>"}}
    metadata = special(
        tmp_path,
        tokenizer_json={
            "added_tokens": [added(5, "<eos>"), added(6, "<end>")],
            "post_processor": {"type": "TemplateProcessing", "single": [a, end], "pair": []},
        },
        tokenizer_config_json={"eos_token": "<eos>"},
    )
    assert (metadata["ggml.eos_token_id"], metadata["ggml.eot_token_id"]) == (6, 5)


# --- chat templates -------------------------------------------------------------------------


def test_templates_in_files_of_their_own_win_over_the_configuration(tmp_path: Path) -> None:
    template = {"chat_template": "config"}
    assert special(tmp_path, tokenizer_config_json=template, chat_template_jinja="file") == {
        "chat_template": "file"
    }
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    assert special(tmp_path, tokenizer_config_json=template, chat_template_jinja="file") == {
        "chat_template": "file",
        "chat_templates": ["tool_use"],
        "chat_template.tool_use": "tools",
    }


def test_a_template_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    assert special(tmp_path, chat_template_jinja="{{ x }}\n") == {"chat_template": "{{ x }}\n"}
    (tmp_path / "chat_template.jinja").unlink()
    json_file = {"chat_template": "json"}
    assert special(tmp_path, chat_template_json=json_file) == {"chat_template": "json"}


def test_named_templates_stand_beside_the_default(tmp_path: Path) -> None:
    templates = [
        {"name": "tool use", "template": "B"},
        {"name": "default", "template": "A"},
        {"name": "rag", "template": "C"},
    ]
    assert special(tmp_path, tokenizer_config_json={"chat_template": templates}) == {
        "chat_templates": ["rag", "tool_use"],
        "chat_template": "A",
        "chat_template.tool_use": "B",
        "chat_template.rag": "C",
    }


def test_a_list_of_something_else_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="chat_template is of the wrong form"):
        special(tmp_path, tokenizer_config_json={"chat_template": [1]})
