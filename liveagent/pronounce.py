"""How a word that is in no dictionary may sound: ARPABET phones from IPA, or guessed from its letters.

The phones are those of CMU's dictionary without stress, which PocketSphinx's US-English model knows.
"""

from __future__ import annotations

PHONES = frozenset((
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K",
    "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
))  # fmt: skip

# Longest first where one begins another. Marks that only say how long or how loud are left out.
_IPA = {
    "aɪɚ": "AY ER", "aɪə": "AY AH", "tʃ": "CH", "dʒ": "JH", "aʊ": "AW", "aɪ": "AY", "eɪ": "EY", "oʊ": "OW",
    "əʊ": "OW", "ɔɪ": "OY", "əl": "AH L", "ɪɹ": "IH R", "ɛɹ": "EH R", "ʊɹ": "UH R", "ɔːɹ": "AO R", "ɑːɹ": "AA R",
    "oːɹ": "AO R", "n̩": "AH N", "l̩": "AH L", "ɑ": "AA", "ɒ": "AA", "æ": "AE", "a": "AA", "ɐ": "AH", "ʌ": "AH",
    "ə": "AH", "ᵻ": "IH", "ɔ": "AO", "o": "OW", "e": "EY", "ɛ": "EH", "ɚ": "ER", "ɝ": "ER", "ɜ": "ER", "ɪ": "IH",
    "i": "IY", "ʊ": "UH", "u": "UW", "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH",
    "k": "K", "x": "K", "l": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "ɾ": "T", "s": "S",
    "ʃ": "SH", "t": "T", "ʔ": "T", "θ": "TH", "v": "V", "w": "W", "ʍ": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_LONGEST_FIRST = sorted(_IPA, key=len, reverse=True)

_SPELLED = {
    "tion": "SH AH N", "sion": "ZH AH N", "tch": "CH", "igh": "AY", "eau": "OW", "sch": "S K", "ough": "AO",
    "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W", "kn": "N",
    "wr": "R", "dg": "JH", "ee": "IY", "ea": "IY", "ie": "IY", "ei": "EY", "ai": "EY", "ay": "EY", "ey": "IY",
    "oa": "OW", "oo": "UW", "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO", "ue": "UW",
    "ew": "UW", "ar": "AA R", "er": "ER", "ir": "ER", "or": "AO R", "ur": "ER", "ce": "S EH", "ci": "S IH",
    "cy": "S IY", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH",
    "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T",
    "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "Y", "z": "Z",
}  # fmt: skip
_SPELLED_FIRST = sorted(_SPELLED, key=len, reverse=True)
_LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
_LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY",
    "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW",
    "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S",
    "y": "W AY", "z": "Z IY",
}  # fmt: skip


def phones_of_ipa(ipa: str) -> tuple[str, ...]:
    """Phones of an IPA transcription; signs that no phone stands for are skipped."""
    return _replace(ipa, _IPA, _LONGEST_FIRST)


def phones_of_letters(word: str) -> tuple[str, ...]:
    """A guess from spelling. Up to four letters without a vowel are spelled out ("tv"); () when there is no guess."""
    word = word.replace("'", "")
    if not any(vowel in word for vowel in "aeiouy"):
        return tuple(phone for letter in word for phone in _LETTERS.get(letter, "").split()) if len(word) <= 4 else ()
    end = ""
    if len(word) > 3 and word[-1] == "e" and word[-2] not in "aeiou" and word[-3] in _LONG:
        word, end = word[:-3], f"{_LONG[word[-3]]} {_SPELLED['s' if word[-2] == 'c' else word[-2]]}"  # "zone", "face"
    elif len(word) > 2 and word[-1] in "yo" and word[-2] not in "aeiou":
        word, end = word[:-1], "IY" if word[-1] == "y" else "OW"
    found = [*_replace(word, _SPELLED, _SPELLED_FIRST), *end.split()]
    return tuple(phone for at, phone in enumerate(found) if at == 0 or phone != found[at - 1])


def _replace(text: str, table: dict[str, str], keys: list[str]) -> tuple[str, ...]:
    phones: list[str] = []
    at = 0
    while at < len(text):
        for key in keys:
            if text.startswith(key, at):
                phones.extend(table[key].split())
                at += len(key)
                break
        else:
            at += 1
    return tuple(phones)
