"""What can go wrong with a meter."""


class MeterError(Exception):
    """Base of every error that leaves this package.

    Its text is one short English clause for a log line.
    """


class MeterUnreachable(MeterError):
    """No answer came: no route, connection refused or lost, or too slow."""


class MeterUnauthorized(MeterError):
    """The meter wants the password of its user "admin", or another one."""


class MeterUnexpectedAnswer(MeterError):
    """An answer came that is not what the manual describes."""


class MeterUnsupported(MeterError):
    """The device does not offer this page: another version or another device."""


class MeterDifferent(MeterError):
    """Another meter, by its serial number, answers at this address."""
