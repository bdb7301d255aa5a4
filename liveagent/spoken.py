"""The one normal form of a user's words, heard or typed: lower case, a-z and ', numbers as words, no punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}  # fmt: skip
MAX_INT = 9999

# What is written short after a number: one of it, several of it. Said only after a number: "min" alone stays a word.
_UNITS = {
    "min": ("minute", "minutes"), "mins": ("minute", "minutes"), "sec": ("second", "seconds"),
    "secs": ("second", "seconds"), "s": ("second", "seconds"), "h": ("hour", "hours"), "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"), "mm": ("millimeter", "millimeters"), "cm": ("centimeter", "centimeters"),
    "m": ("meter", "meters"), "km": ("kilometer", "kilometers"), "g": ("gram", "grams"),
    "kg": ("kilogram", "kilograms"), "ml": ("milliliter", "milliliters"), "l": ("liter", "liters"),
    "$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"), "°c": ("degree", "degrees"),
    "°f": ("degree", "degrees"), "°": ("degree", "degrees"),
}  # fmt: skip
_SYMBOLS = {"%": " percent ", "&": " and ", "+": " plus ", "@": " at ", "=": " equals ", "€": " euros ",
            "£": " pounds ", "$": " dollars ", "°": " degrees "}  # fmt: skip

_MONEY = re.compile(r"([$€£])\s*(\d+(?:[.,]\d+)*)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_LETTERS = "|".join(sorted((unit for unit in _UNITS if unit.isalpha()), key=len, reverse=True))
_MEASURE = re.compile(rf"(?<![a-z\d.])(\d+(?:\.\d+)?)\s*(°[cf]\b|°|[$€£]|(?:{_LETTERS})\b)")
_ORDINAL = re.compile(r"(?<!\d)(\d{1,4})(?:st|nd|rd|th)\b")
_MINUS = re.compile(r"(?:(?<=\s)|^)[-−](?=\d)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NOT_A_LETTER = re.compile(r"[^a-z']+")
_EDGE = re.compile(r"(?<![a-z])'+|'+(?![a-z])")


@cache
def int_to_words(number: int) -> str:
    """`25` -> "twenty five"; -9999 to 9999, else ValueError."""
    if number < 0:
        return "minus " + int_to_words(-number)
    if number > MAX_INT:
        raise ValueError(f"{number} is over {MAX_INT}")
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (" " + _ONES[ones] if ones else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    front, rest = divmod(number, unit)
    return f"{_ONES[front]} {name}" + (" " + int_to_words(rest) if rest else "")


def words_to_int(words: str | Sequence[str]) -> int | None:
    """The number these words say ("one hundred and five", "a hundred", "twelve hundred"); None when they say none.

    Strict about order: "five twenty" and "twenty eleven" are no numbers. Digits count too ("25").
    """
    rest = list(words.split() if isinstance(words, str) else words)
    sign = 1
    if rest and rest[0] == "minus":
        sign, rest = -1, rest[1:]
    if not rest:
        return None
    if len(rest) == 1 and rest[0].isdecimal() and rest[0].isascii():
        number = int(rest[0])
        return sign * number if number <= MAX_INT else None
    if "thousand" in rest:
        cut = rest.index("thousand")
        thousands, below = _count(rest[:cut]), _after("thousand", rest[cut + 1 :])
        if thousands is None or not 1 <= thousands <= 9 or below is None:
            return None
        return sign * (thousands * 1000 + below)
    below = _below_thousand(rest)
    return None if below is None else sign * below


def _after(name: str, words: list[str]) -> int | None:
    if not words:
        return 0
    if words[0] == "and":
        words = words[1:]
    number = _below_hundred(words) if name == "hundred" else _below_thousand(words)
    return number if number else None  # "one hundred zero" is no number


def _below_thousand(words: list[str]) -> int | None:
    if "hundred" not in words:
        return _below_hundred(words)
    cut = words.index("hundred")
    hundreds, below = _count(words[:cut]), _after("hundred", words[cut + 1 :])
    if hundreds is None or below is None or hundreds == 0 or hundreds % 10 == 0 or hundreds > 99:
        return None
    return hundreds * 100 + below


def _count(words: list[str]) -> int | None:
    """How many hundreds or thousands: "a hundred" is one of them."""
    return 1 if words == ["a"] else _below_hundred(words)


def _below_hundred(words: list[str]) -> int | None:
    if len(words) == 1:
        if words[0] in _ONES:
            return _ONES.index(words[0])
        return _TENS.index(words[0]) * 10 if words[0] in _TENS[2:] else None
    if len(words) == 2 and words[0] in _TENS[2:] and words[1] in _ONES[1:10]:
        return _TENS.index(words[0]) * 10 + _ONES.index(words[1])
    return None


def spoken(text: str) -> str:
    """Any text as it would be said: "Set a timer for 5 min!" -> "set a timer for five minutes".

    Idempotent. What has no letters and no number ("…") gives "". Accents fall off; letters of other scripts too.
    """
    text = text.replace("’", "'").replace("‘", "'")
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    text = _MONEY.sub(r"\2 \1", text)
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    text = _MINUS.sub(" minus ", text)
    text = _MEASURE.sub(lambda m: f"{m[1]} {_UNITS[m[2]][m[1] != '1']} ", text)
    text = _ORDINAL.sub(lambda m: f" {_ordinal(int(m[1]))} ", text)
    text = _NUMBER.sub(lambda m: f" {_number(m[0])} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, word)
    return " ".join(_EDGE.sub("", _NOT_A_LETTER.sub(" ", text)).split())


def _number(digits: str) -> str:
    whole, _, fraction = digits.partition(".")
    if not (whole.isascii() and fraction.isascii()):
        return ""
    said = int_to_words(int(whole)) if len(whole.lstrip("0") or "0") <= 4 else " ".join(_ONES[int(d)] for d in whole)
    return said + (" point " + " ".join(_ONES[int(d)] for d in fraction) if fraction else "")


def _ordinal(number: int) -> str:
    *front, last = int_to_words(number).split()
    regular = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return " ".join([*front, _ORDINALS.get(last, regular)])
