"""The README says what the code does."""

from scripts.entity_table import README, with_table


def test_entities_are_those_of_the_code() -> None:
    """The table of entities is today's; `python -m scripts.entity_table --write` renews it."""
    readme = README.read_text()
    assert readme == with_table(readme)
