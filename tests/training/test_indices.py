import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodels.errors import UsageError
from datamodels.training.indices import check_range, format_indices, parse_indices


@given(st.sets(st.integers(0, 200), min_size=1))
def test_what_is_written_reads_back(rows):
    assert parse_indices(format_indices(list(rows)), 201, "s") == sorted(rows)


def test_order_is_kept_and_each_row_stands_once():
    assert parse_indices("7,0-2, 1,5-5", 8, "s") == [7, 0, 1, 2, 5]


@pytest.mark.parametrize("text", ["", "1 2", "a", "1-", "-1", "3-1", "1,,2", "1.5", "1:3"])
def test_what_is_no_range_is_named(text):
    with pytest.raises(UsageError):
        parse_indices(text, 10, "s")


def test_rows_outside_the_store_are_named():
    check_range([0, 9], 10, "s")
    with pytest.raises(UsageError, match="row 10 is not in the store s: it has rows 0 to 9"):
        check_range([0, 10], 10, "s")
    with pytest.raises(UsageError, match="row 10000000000 is not in the store s"):
        parse_indices("0-10000000000", 10, "s")  # and no list of so many is made
