"""The toy figure's arithmetic."""

import pytest

from companion.figures import Zebra

FULL = {"stripes": 12}  # what the promises of all figures are tried with


@pytest.mark.parametrize("stripes", [0, 13, 1.5])
def test_stripes_out_of_range_are_refused(stripes):
    with pytest.raises(ValueError, match="stripes must be a whole number from 1 to 12"):
        Zebra(stripes=stripes)
