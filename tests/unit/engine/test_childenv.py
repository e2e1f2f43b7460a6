import pytest

from olmkit.engine.childenv import child_environment


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "LLAMA_CPP_LIB_PATH"]
)
def test_what_children_need_they_get(name: str) -> None:
    assert child_environment({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "PIP_INDEX_URL", "AWS_SECRET_ACCESS_KEY", "CUDA_TOKEN", "PYTHON_KEYRING", "X"],
)
def test_what_they_do_not_need_they_do_not_get(name: str) -> None:
    assert child_environment({name: "x"}) == {}
