"""The error tree."""

from __future__ import annotations

import inspect

import liveagent
from liveagent import errors

KINDS = [errors.ConfigError, errors.DeviceError, errors.LinkError, errors.ProtocolError, errors.ToolError]


def test_all_are_one_family_and_drawn_in_the_docstring() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    assert len(classes) == 9
    for each in classes:
        assert issubclass(each, errors.LiveAgentError)
        assert each.__name__ in (errors.__doc__ or "")
        assert (each.__doc__ or "").strip()


def test_who_can_mend_it_is_exported() -> None:
    for each in (errors.LiveAgentError, *KINDS):
        assert getattr(liveagent, each.__name__) is each


def test_none_of_them_is_another() -> None:
    assert all(not issubclass(one, other) for one in KINDS for other in KINDS if one is not other)
