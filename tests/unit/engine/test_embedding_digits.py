"""Numbers of embeddings as JSON gets them."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.api.native.embed import rounded


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_rounded_numbers_are_read_back_as_the_values_that_they_were(values: list[float]) -> None:
    vector = array("f", values)
    assert array("f", rounded(vector)) == vector


def test_values_of_unit_vectors_have_nine_digits_at_most() -> None:
    vector = array("f", [0.7, 0.1, -0.05, 0.0001, 0.0])
    assert rounded(vector) == [0.699999988, 0.100000001, -0.0500000007, 0.0001, 0.0]
