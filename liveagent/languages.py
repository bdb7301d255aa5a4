"""Languages by the codes of ISO 639 and by their English names: settings of checkpoints and people use either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

_NAMED = """
af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, be belarusian, bg bulgarian, bn bengali,
bo tibetan, br breton, bs bosnian, ca catalan/valencian, cs czech, cy welsh, da danish, de german, el greek, en english,
es spanish/castilian, et estonian, eu basque, fa persian/farsi, fi finnish, fo faroese, fr french, gl galician,
gu gujarati, ha hausa, haw hawaiian, he hebrew, hi hindi, hr croatian, ht haitian creole/haitian, hu hungarian,
hy armenian, id indonesian, is icelandic, it italian, ja japanese, jw javanese, ka georgian, kk kazakh, km khmer,
kn kannada, ko korean, la latin, lb luxembourgish/letzeburgesch, ln lingala, lo lao, lt lithuanian, lv latvian,
mg malagasy, mi maori, mk macedonian, ml malayalam, mn mongolian, mr marathi, ms malay, mt maltese, my burmese/myanmar,
ne nepali, nl dutch/flemish, nn nynorsk, no norwegian, oc occitan, pa punjabi/panjabi, pl polish, ps pashto/pushto,
pt portuguese, ro romanian/moldavian/moldovan, ru russian, sa sanskrit, sd sindhi, si sinhala/sinhalese, sk slovak,
sl slovenian, sn shona, so somali, sq albanian, sr serbian, su sundanese, sv swedish, sw swahili, ta tamil, te telugu,
tg tajik, th thai, tk turkmen, tl tagalog, tr turkish, tt tatar, uk ukrainian, ur urdu, uz uzbek, vi vietnamese,
yi yiddish, yo yoruba, yue cantonese, zh chinese/mandarin
"""


def code_of(language: str) -> str | None:
    """The code of a language that is named by it, or in English; None where it is neither."""
    name = language.strip().casefold()
    return _codes().get(name) or (name if re.fullmatch("[a-z]{2,3}", name) else None)


@cache
def _codes() -> Mapping[str, str]:
    pairs = (each.split(maxsplit=1) for each in _NAMED.replace("\n", " ").split(","))
    return {name.strip(): code for code, names in pairs for name in names.split("/")}
