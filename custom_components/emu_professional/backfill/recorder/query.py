"""Queries to the recorder's database, and the statistics found there."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from homeassistant.components.recorder.const import SupportedDialect
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope

from ...failures import failed
from .units import Statistic, last_digits_per


class Found(NamedTuple):
    """A statistic in the database: its number there, and its unit.

    `per_unit` is the unit in last digits of the quantity.
    """

    metadata_id: int
    unit: str | None
    per_unit: float


def find(session: Session, hass: HomeAssistant, statistic: Statistic) -> Found | None:
    """Return a statistic as the database has it, or None if it has no row yet.

    Raises UnitNotConvertible.
    """
    manager = get_instance(hass).statistics_meta_manager
    if (found := manager.get(session, statistic.statistic_id)) is None:
        return None
    metadata_id, metadata = found
    unit = metadata["unit_of_measurement"]
    return Found(metadata_id, unit, last_digits_per(unit, statistic))


async def async_query[R](hass: HomeAssistant, query: Callable[[Session], R]) -> R:
    """Return the answer to a query.

    Raises HomeAssistantError if the database fails, for instance if its connection is
    lost or rows are locked.
    """
    return await get_instance(hass).async_add_executor_job(_query, hass, query)


def free_memory(session: Session) -> None:
    """Let SQLite give back the pages that it keeps of a long query.

    Each thread of the recorder would keep up to 16 MB of them for ever.
    """
    if session.get_bind().dialect.name == SupportedDialect.SQLITE:
        session.execute(text("PRAGMA shrink_memory"))


def _query[R](hass: HomeAssistant, query: Callable[[Session], R]) -> R:
    with session_scope(hass=hass, read_only=True) as session:
        # If it were raised in here, it would be logged with a traceback.
        try:
            return query(session)
        except (SQLAlchemyError, HomeAssistantError) as err:
            trouble = err
    if isinstance(trouble, SQLAlchemyError):
        raise database_trouble(trouble) from trouble
    raise trouble


def database_trouble(err: SQLAlchemyError) -> HomeAssistantError:
    """Return an error of the database in the owner's words."""
    # In one line, without the statement and its parameters.
    original = getattr(err, "orig", None) or err
    line = str(original).strip().partition("\n")[0]
    return failed("database_trouble", error=line)
