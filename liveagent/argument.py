"""One argument of a tool: what it may be, how each value is said, and how a value that the model wrote is read."""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from liveagent.errors import ConfigError, ToolError
from liveagent.spoken import MAX_INT, int_to_words, spoken, words_to_int

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Kind = Literal["choice", "int", "float", "bool", "text"]
Value = str | int | float | bool | None
_BOOLS = {"yes": True, "no": False, "on": True, "off": False, "true": True, "false": False}


@dataclass(frozen=True)
class Argument:
    """`choices` hold JSON values. `low` and `high` are inclusive; None means unbounded. `default` counts only when
    `required` is False; None is then a legal value too if `nullable`."""

    name: str
    kind: Kind
    choices: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    required: bool = True
    nullable: bool = False
    default: Any = None
    description: str = ""
    enum_type: type[enum.Enum] | None = None

    @classmethod
    def of(cls, name: str, info: FieldInfo, owner: str) -> Argument:
        """Read pydantic's description of a parameter. Raises ConfigError for types that cannot be said."""
        annotation, metadata = info.annotation, list(info.metadata)
        nullable = False
        if get_origin(annotation) in (Union, types.UnionType):
            rest = [part for part in get_args(annotation) if part is not type(None)]
            nullable = len(rest) < len(get_args(annotation))
            if len(rest) != 1:
                raise _unfit(owner, name, annotation)
            annotation = rest[0]
            if get_origin(annotation) is Annotated:
                annotation, *inner = get_args(annotation)
                for item in inner:  # a Field(...) carries its limits one level down
                    metadata.extend(getattr(item, "metadata", [item]))
        kind: Kind
        choices: tuple[Value, ...] = ()
        enum_type = None
        if get_origin(annotation) is Literal:
            kind, choices = "choice", get_args(annotation)
        elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            kind, choices, enum_type = "choice", tuple(member.value for member in annotation), annotation
        elif annotation in _KINDS:
            kind = _KINDS[annotation]
        else:
            raise _unfit(owner, name, annotation)
        if any(not isinstance(choice, str | int | float) for choice in choices) or (kind == "choice" and not choices):
            raise _unfit(owner, name, annotation)
        low, high, step = _limits(metadata, whole=kind == "int")
        required = info.is_required()
        argument = cls(
            name, kind, choices, low, high, step, required, nullable, None if required else info.get_default(),
            info.description or "", enum_type,
        )  # fmt: skip
        if kind != "text" and not argument.slots:
            raise ConfigError(f"tool {owner!r}, argument {name!r}: none of its values can be said; widen its range")
        if len({say for say in map(argument.say, choices)}) < len(choices):
            raise ConfigError(f"tool {owner!r}, argument {name!r}: two of its values are said alike; rename one")
        return argument

    @cached_property
    def slots(self) -> Mapping[str, Value]:
        """Words → value for every value that can be said; empty for free text. The first words of a value are its own.

        Whole numbers reach from 0 (or `low`) to 9999; other numbers have one decimal where their range is at most 100
        wide, else none.
        """
        if self.kind == "choice":
            return {self.say(choice): choice for choice in self.choices if self.say(choice)}
        if self.kind == "bool":
            return _BOOLS
        if self.kind == "text":
            return {}
        low = max(0.0 if self.low is None else self.low, -MAX_INT)
        high = min(MAX_INT if self.high is None else self.high, MAX_INT)
        tenths = 10 if self.kind == "float" and high - low <= 100 else 1
        numbers = (n / tenths for n in range(math.ceil(low * tenths), math.floor(high * tenths) + 1))
        values = (int(n) if n == int(n) else n for n in numbers if self._on_step(n))
        return {self.say(value): value for value in values}

    def say(self, value: Value | enum.Enum) -> str:
        """A value's words: 25 -> "twenty five", "living_room" -> "living room"."""
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int) and abs(value) <= MAX_INT:
            return int_to_words(value)
        if isinstance(value, float) and value == int(value):
            return self.say(int(value))
        return spoken(str(value))

    def read(self, value: object, owner: str = "") -> Any:
        """The Python value to call the tool with, from JSON or from words. Raises ToolError, worded for the model."""
        if value is None and self.nullable:
            return None
        words = spoken(str(value)) if not isinstance(value, bool) else ("yes" if value else "no")
        if isinstance(value, enum.Enum):
            value = value.value
        if self.kind == "text":
            if isinstance(value, str) and value.strip():
                return value.strip()
        elif self.kind in ("choice", "bool"):
            for choice in self.choices:
                if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                    return self._member(choice)
            if words in self.slots:
                return self._member(self.slots[words])
        else:
            number = self._number(value, words)
            if number is not None and self._allows(number):
                return number
        told = value if isinstance(value, str | int | float | bool) else type(value).__name__
        raise ToolError(f"{owner}: {self.name} cannot be {told!r}; it is {self.wants}")

    @property
    def wants(self) -> str:
        """What a value must be, in words for the model."""
        if self.kind == "choice":
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.kind == "bool":
            return "yes or no"
        if self.kind == "text":
            return "some words"
        number = "a whole number" if self.kind == "int" else "a number"
        match (self.low, self.high):
            case (None, None):
                return number
            case (low, None):
                return f"{number} of at least {low:g}"
            case (None, high):
                return f"{number} of at most {high:g}"
            case (low, high):
                return f"{number} from {low:g} to {high:g}"

    def _member(self, value: Value) -> Any:
        return self.enum_type(value) if self.enum_type else value

    def _number(self, value: object, words: str) -> int | float | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            if not math.isfinite(value) or (self.kind == "int" and value != int(value)):
                return None
            return int(value) if self.kind == "int" else float(value)
        if not isinstance(value, str):
            return None
        try:
            return self._number(int(value) if self.kind == "int" else float(value), words)
        except ValueError:
            whole, point, fraction = words.partition(" point ")
            number, digits = words_to_int(whole), [words_to_int(word) for word in fraction.split()]
            if number is None or (point and (self.kind == "int" or not digits)):
                return None
            if any(digit is None or not 0 <= digit <= 9 for digit in digits):
                return None
            if not point:
                return number if self.kind == "int" else float(number)
            return float(f"{number}." + "".join(str(digit) for digit in digits))

    def _allows(self, number: float) -> bool:
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and self._on_step(number)
        )

    def _on_step(self, number: float) -> bool:
        return self.step is None or math.isclose(number / self.step, round(number / self.step), abs_tol=1e-9)


_KINDS: dict[Any, Kind] = {int: "int", float: "float", bool: "bool", str: "text"}


def _limits(metadata: list[Any], whole: bool) -> tuple[float | None, float | None, float | None]:
    """Lowest, highest, step, from pydantic's ge, gt, le, lt, multiple_of. Open ends of real numbers count as closed
    (what a voice can say of them is decided by pydantic when the tool is called)."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    for item in metadata:
        if (ge := getattr(item, "ge", None)) is not None:
            low = ge
        if (gt := getattr(item, "gt", None)) is not None:
            low = gt + 1 if whole else math.nextafter(gt, math.inf)
        if (le := getattr(item, "le", None)) is not None:
            high = le
        if (lt := getattr(item, "lt", None)) is not None:
            high = lt - 1 if whole else math.nextafter(lt, -math.inf)
        if (multiple := getattr(item, "multiple_of", None)) is not None:
            step = multiple
    return low, high, step


def _unfit(owner: str, name: str, annotation: object) -> ConfigError:
    return ConfigError(
        f"tool {owner!r}, argument {name!r}: {annotation!r} cannot be said in one value; use Literal[...], an Enum, "
        "bool, int, float or str (or one of these with `| None`), and give a nested model's fields one by one"
    )
