from olmkit.cli.screen.output import columns, display_width, reflow, table


def test_columns_are_padded_by_display_width_without_trailing_blanks() -> None:
    text = table(["NAME", "ID", "SIZE"], [["模型:1", "abc", "1.0 KB"], ["m", "abcdef", ""]])
    assert text == "NAME      ID        SIZE\n模型:1    abc       1.0 KB\nm         abcdef\n"


def test_an_empty_table_is_its_header() -> None:
    assert table(["NAME", "ID"], []) == "NAME    ID\n"


def test_rows_may_differ_in_length() -> None:
    assert columns([["a", "b"], ["longer"]], indent=2) == "  a         b\n  longer\n"


def test_joining_marks_take_no_column() -> None:
    assert display_width("e\u0301") == 1
    assert display_width("漢字") == 4


def test_reflow_breaks_at_blanks_and_keeps_long_words_whole() -> None:
    assert reflow("a bc supercalifragilistic d", 6) == ["a bc", "supercalifragilistic", "d"]
    assert reflow("", 6) == [""]
