"""A virtual year of a house: what can happen, who lives it, and what must be true."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.contract", f"{__name__}.life")
