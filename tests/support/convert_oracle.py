"""What llama.cpp's own converter and transformers make of `support.checkpoints`, as JSON.

Not run by the tests, which compare with the recorded result. To record it again, with torch,
transformers, sentencepiece and llama.cpp's source (of the llama-cpp-python sdist) at hand:

    PYTHONPATH=tests HF_HUB_OFFLINE=1 python -m support.convert_oracle LLAMA_CPP MINILM > \
        tests/integration/test_convert_oracle.json

with the directory of all-MiniLM-L6-v2 (`support.models.minilm_directory`).
"""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.checkpoints import CHECKPOINTS, PRE_TOKENIZERS, lora, write_checkpoint

TOKENS = [1, 5, 17, 100, 42, 270, 7]
"""The prompt whose next token is predicted."""
LONG_ARRAY = 16
GENERATORS = ("gemma3", "llama", "mistral", "phi3", "qwen2", "qwen3")


def describe(path: Path) -> dict[str, Any]:
    """Metadata with types and tensors of a GGUF file; long values and data as SHA-256."""
    reader = importlib.import_module("gguf").GGUFReader(path)
    metadata = {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        value = field.contents()
        if isinstance(value, list) and len(value) > LONG_ARRAY:
            value = _sha256(json.dumps(value).encode())
        metadata[key] = [[kind.name for kind in field.types], value]
    tensors = {
        tensor.name: [
            [int(size) for size in tensor.shape],
            tensor.tensor_type.name,
            _sha256(tensor.data.tobytes()),
        ]
        for tensor in reader.tensors
    }
    return {"metadata": metadata, "tensors": tensors}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _convert(program: str, arguments: list[str], pre_tokenizer: str | None) -> None:
    base: Any = importlib.import_module("conversion.base").TextModel
    # The converter hashes what the tokenizer does with a text; made-up ones are not in its list.
    original = base.get_vocab_base_pre
    if pre_tokenizer:
        base.get_vocab_base_pre = lambda self, tokenizer: pre_tokenizer
    sys.argv = [program, *arguments]
    with contextlib.redirect_stdout(sys.stderr):
        spec = importlib.util.find_spec(program)
        assert spec is not None and spec.origin is not None
        code = compile(Path(spec.origin).read_text(), spec.origin, "exec")
        exec(code, {"__name__": "__main__", "__file__": spec.origin})
    base.get_vocab_base_pre = original


def _logits(name: str, directory: Path) -> list[float]:
    """transformers' logits for the token after `TOKENS`, in float32."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    if name == "gemma3":
        load_file = importlib.import_module("safetensors.torch").load_file
        config = json.loads((directory / "config.json").read_text())["text_config"]
        weights = {
            key.replace("language_model.", ""): value.float()
            for key, value in load_file(directory / "model.safetensors").items()
            if key.startswith("language_model.")
        }
        config["vocab_size"] = len(weights["model.embed_tokens.weight"])
        model = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**config))
        model.load_state_dict(weights, strict=False)
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager"
        )
    with torch.no_grad():
        logits = model.eval().float()(torch.tensor([TOKENS])).logits[0, -1]
    return [round(float(value), 5) for value in logits]


PAIR = [2, 5, 23, 57, 3, 45, 56, 3]
"""[CLS] a [SEP] b [SEP]"""


def _scores(directory: Path) -> list[float]:
    """transformers' scores of `PAIR`. llama.cpp's converter leaves the pooler out here."""
    torch: Any = importlib.import_module("torch")
    kind: Any = importlib.import_module("transformers").AutoModelForSequenceClassification
    model = kind.from_pretrained(directory, attn_implementation="eager").eval()
    with torch.no_grad():
        return [float(score) for score in model(input_ids=torch.tensor([PAIR])).logits[0]]


SENTENCES = [
    "A cat sits on the mat.",
    "Die Größe der Straße überraschte Zoë!",
    "The quick brown fox jumps over the lazy dog; 3.14159 is not 22/7.",
    "def quicksort(xs): return xs if len(xs) < 2 else quicksort([x for x in xs if x < xs[0]])",
    "東京は日本の首都です。 naïve café — “quotes” … €100",
    "word " * 90,
]


def _embeddings(directory: Path) -> list[dict[str, Any]]:
    """transformers' embeddings of `SENTENCES`: float32, mean of tokens, of length one."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    result = []
    for text in SENTENCES:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        vector = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        result.append(
            {
                "text": text,
                "tokens": inputs["input_ids"][0].tolist(),
                "embedding": [round(float(value), 6) for value in vector],
            }
        )
    return result


def main(llama_cpp: str, minilm: str) -> None:
    sys.path[:0] = [llama_cpp, f"{llama_cpp}/gguf-py"]
    logging.disable(logging.WARNING)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in CHECKPOINTS:
            directory = write_checkpoint(name, root / name)
            if name == "bert_classifier":
                result[name] = {"scores": _scores(directory)}
                continue
            target = root / f"{name}.gguf"
            arguments = [str(directory), "--outfile", str(target)]
            _convert("convert_hf_to_gguf", arguments, PRE_TOKENIZERS.get(name, "jina-v2-en"))
            result[name] = describe(target)
            if name in GENERATORS:
                result[name]["logits"] = _logits(name, directory)
        (root / "lora").mkdir()
        lora(root / "lora")
        target = root / "lora.gguf"
        arguments = ["--base", str(root / "llama"), "--outfile", str(target), str(root / "lora")]
        _convert("convert_lora_to_gguf", arguments, None)
        result["lora"] = describe(target)
        target = root / "minilm.gguf"
        _convert("convert_hf_to_gguf", [minilm, "--outfile", str(target)], None)
        result["minilm"] = describe(target) | {"embeddings": _embeddings(Path(minilm))}
    versions = {
        package: importlib.import_module(package).__version__
        for package in ("torch", "transformers", "sentencepiece")
    }
    made_with = {"converter": "llama.cpp in the sdist of llama-cpp-python 0.3.36", **versions}
    json.dump({"made_with": made_with, "checkpoints": result}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
