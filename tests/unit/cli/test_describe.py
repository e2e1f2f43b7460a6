from olmkit.cli.screen.showsections import describe, parameter_rows
from olmkit.engine.client.replies import ModelDetails, model_details


def details(**reply: object) -> ModelDetails:
    return model_details(
        {
            "details": {"family": "test", "parameter_size": "8B", "quantization_level": "FP16"},
            "model_info": {
                "general.architecture": "test",
                "test.context_length": 1000,
                "test.embedding_length": 11434,
            },
            **reply,
        }
    )


def test_the_sections_of_a_small_model() -> None:
    shown = describe(
        details(
            parameters='temperature                    99\nstop                           "up"',
            capabilities=["completion"],
            system="Be brief.\n\nBe kind.\nBe true.",
        )
    )
    assert shown == (
        "  Model\n"
        "    architecture        test\n"
        "    parameters          8B\n"
        "    context length      1000\n"
        "    embedding length    11434\n"
        "    quantization        FP16\n"
        "\n"
        "  Capabilities\n"
        "    completion\n"
        "\n"
        "  Parameters\n"
        '    stop           "up"\n'
        "    temperature    99\n"
        "\n"
        "  System\n"
        "    Be brief.\n"
        "    Be kind.\n"
        "    ...\n"
        "\n"
    )


def test_parameters_are_sorted_and_keep_blanks_in_their_values() -> None:
    text = 'top_k   5\nstop   "a b"\nstop   "<|im end|>"\n'
    assert parameter_rows(text) == [("stop", '"a b"'), ("stop", '"<|im end|>"'), ("top_k", "5")]


def test_verbose_adds_metadata_with_short_arrays_and_tensors() -> None:
    shown = describe(
        details(
            model_info={
                "general.architecture": "test",
                "b.flag": True,
                "a.count": 8_000_000_000,
                "a.rate": 1e-05,
                "tokens": ["<s>", "</s>", "a", "b"],
                "scores": list(range(100)),
                "empty": None,
            },
            tensors=[{"name": "w", "type": "F16", "shape": [42, 3117]}],
        ),
        verbose=True,
    )
    for row in (
        "a.count                 8000000000\n",
        "a.rate                  1e-05\n",
        "b.flag                  true\n",
        "empty                   null\n",
        "scores                  [0 1 2 ...+97 more]\n",
        "tokens                  [<s> ...+3 more]\n",
        "    w    F16    [42 3117]\n",
    ):
        assert row in shown


def test_long_cells_are_broken_at_blanks_and_controls_made_visible() -> None:
    shown = describe(details(license="word " * 40 + "\x1b[31m"))
    lines = shown[shown.index("License") :].splitlines()[1:]
    assert max(map(len, lines)) <= 104
    assert "\x1b" not in shown


def test_a_model_without_metadata_shows_its_family() -> None:
    assert "architecture    test" in describe(details(model_info=None)).replace("  " * 3, "  ")


def test_projector_and_remote_rows() -> None:
    shown = describe(
        details(
            projector_info={"general.architecture": "clip", "clip.vision.embedding_length": 64},
            remote_model="big",
            remote_host="https://x",
        )
    )
    assert "  Projector\n    architecture        clip\n    embedding length    64\n" in shown
    assert "Remote model        big" in shown


def test_a_draft_is_told_with_what_becomes_of_it() -> None:
    draft = {"family": "llama", "parameter_size": "15M", "quantization_level": "Q8_0"}
    shown = describe(details(olm={"draft": draft}))
    assert (
        "  Draft\n"
        "    architecture    llama\n"
        "    parameters      15M\n"
        "    quantization    Q8_0\n"
        "    use             stored, not used for decoding\n"
    ) in shown
    used = describe(details(olm={"draft": draft | {"used": True}}))
    assert "    use             guesses ahead\n" in used
    head = describe(details(olm={"draft": draft | {"is_head": True, "used": True}}))
    assert "    part of         the model's own file\n    use             guesses ahead\n" in head
    assert "Draft" not in describe(details())
