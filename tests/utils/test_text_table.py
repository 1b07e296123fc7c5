"""Tables of plain text."""

from codial.utils.text_table import format_table


def test_columns_are_as_wide_as_their_widest_cell():
    assert format_table([("a", "b"), ("long", "c"), ("d", "")]) == "a     b\n-------\nlong  c\nd"
