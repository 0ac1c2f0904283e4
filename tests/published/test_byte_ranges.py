from hypothesis import given
from hypothesis import strategies as st

from datamodels.published.byte_ranges import ByteRanges, length_of
from datamodels.published.transfer import pieces_of

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


@given(SPANS)
def test_they_are_the_union_of_what_was_added(spans):
    ranges = ByteRanges(spans)
    positions = {i for start, stop in spans for i in range(start, stop)}
    assert {i for start, stop in ranges.ranges for i in range(start, stop)} == positions
    assert len(ranges) == len(positions)
    ends = [end for span in ranges.ranges for end in span]
    assert ends == sorted(set(ends))  # in order, and none touches another


@given(SPANS, st.integers(0, 40), st.integers(0, 40))
def test_missing_is_the_complement(spans, start, stop):
    ranges = ByteRanges(spans)
    positions = {i for a, b in spans for i in range(a, b)}
    missing = ranges.missing(start, stop)
    assert [i for a, b in missing for i in range(a, b)] == [
        i for i in range(start, stop) if i not in positions
    ]
    assert all(a < b for a, b in missing)


@given(SPANS, st.integers(1, 9))
def test_pieces_are_the_ranges_cut_at_multiples(spans, chunk):
    ranges = ByteRanges(spans).ranges
    pieces = list(pieces_of(ranges, chunk))
    assert ByteRanges(pieces).ranges == ranges
    assert length_of(pieces) == length_of(ranges)
    assert all(a // chunk == (b - 1) // chunk for a, b in pieces)
