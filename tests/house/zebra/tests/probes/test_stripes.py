"""Stripes are counted row by row."""

import pytest
import torch

from companion.probes import count_stripes


@pytest.mark.parametrize("stripes", [1, 2, 5])
def test_a_row_has_the_stripes_that_it_was_made_of(stripes):
    row = torch.ones(stripes)
    row[1::2] = -1
    assert count_stripes(row.repeat_interleave(3)).item() == stripes
    assert count_stripes(torch.stack([row, row])).tolist() == [stripes] * 2
