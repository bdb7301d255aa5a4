"""Borrowed voices: recorded speakers of Czech, Italian and Finnish made to speak English.

There are few recorded English voices to be had, and one woman among them. festival's diphone voices of other languages
add eight speakers, three women and a child among them. An English voice gives each sentence's phones and durations;
the phones are put into the speaker's own inventory (`th` becomes `s` or `t`, diphthongs become two vowels), so what
comes out has an accent, as many users do.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from liveagent.train.voices import Utterance, finish, need, read_wave

_CZECH = """aa=a: ae=e ah=a ao=o: aw=a+u ax=e axr=e+r ay=a+j b=b ch=c~ d=d dh=d dx=t eh=e el=e+l em=e+m en=e+n er=e+r
ey=e+j f=f g=g hh=h hv=h ih=i iy=i: jh=d+z~ k=k l=l m=m n=n nx=n ng=n* ow=o+u oy=o+j p=p r=r s=s sh=s~ t=t th=s uh=u
uw=u: v=v w=u y=j z=z zh=z~ pau=#"""
_ITALIAN = """aa=a1 ae=E1 ah=a1 ao=O1 aw=a1+u ax=e axr=e1+r ay=a1+i b=b ch=tS d=d dh=d dx=t eh=E1 el=e+l em=e+m en=e+n
er=e1+r ey=e1+i f=f g=g hh= hv= ih=i1 iy=i1 jh=dZ k=k l=l m=m n=n nx=n ng=n ow=o1+u oy=O1+i p=p r=r s=s sh=S t=t th=t
uh=u1 uw=u1 v=v w=w y=j z=z zh=dZ pau=#"""
_FINNISH = """aa=a: ae=@ ah=a ao=o aw=a+u ax=7 axr=7+r ay=a+i b=b ch=t+s d=d dh=d dx=t eh=e el=e+l em=e+m en=e+n er=7+r
ey=e+i f=f g=g hh=h hv=h ih=i iy=i: jh=d+j k=k l=l m=m n=n nx=n ng=N ow=o+u oy=o+i p=p r=r s=s sh=s t=t th=t uh=u
uw=u: v=v w=v y=j z=s zh=s pau=#"""

# voice: its phones, and its usual pitch in Hz
BORROWED = {
    "czech_dita": (_CZECH, 200.0),
    "czech_krb": (_CZECH, 250.0),
    "czech_machac": (_CZECH, 110.0),
    "czech_ph": (_CZECH, 115.0),
    "lp_diphone": (_ITALIAN, 190.0),
    "pc_diphone": (_ITALIAN, 115.0),
    "suo_fi_lj_diphone": (_FINNISH, 195.0),
    "hy_fi_mv_diphone": (_FINNISH, 110.0),
}


def english_phones(texts: list[str], folder: Path) -> list[list[tuple[str, float]]]:
    """Phones and their seconds of each text, as festival's kal would say it."""
    lines = [
        "(voice_kal_diphone)",
        "(define (phones text) (let ((u (utt.synth (eval (list 'Utterance 'Text text)))))",
        "(mapcar (lambda (s) (format t \"%s %f\\n\" (item.name s) (item.feat s 'segment_duration)))",
        "(utt.relation.items u 'Segment)) (format t \"END\\n\")))",
        *(f'(phones "{text}")' for text in texts),
    ]
    script = folder / "phones.scm"
    script.write_text("\n".join(lines))
    said = subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True, text=True).stdout
    parts = said.split("END")[: len(texts)]
    return [[(line.split()[0], float(line.split()[1])) for line in part.strip().splitlines()] for part in parts]


def borrowed(voice: str, texts: list[str], rng: random.Random, folder: Path) -> Iterator[Utterance]:
    """Speak English with a voice of `BORROWED`; rate and pitch drawn from `rng`. What fails is left out."""
    need("festival")
    table, usual = BORROWED[voice]
    sounds = {a: [p for p in b.split("+") if p] for a, _, b in (item.partition("=") for item in table.split())}
    lines = [f"(voice_{voice})"]
    for i, phones in enumerate(english_phones(texts, folder)):
        pitch, rate, fall = usual * rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.3), rng.uniform(0.05, 0.35)
        segments = []
        for k, (phone, seconds) in enumerate(phones):
            for own in (parts := sounds.get(phone, [])):
                hz = pitch * (1.1 - fall * k / len(phones) + rng.uniform(-0.04, 0.04))
                segments.append(f"({own} {max(0.03, seconds * rate / len(parts)):.3f} (0.0 {hz:.0f}))")
        spoken = f"(utt.synth (Utterance Segments ({' '.join(segments)})))"
        lines.append(f"(unwind-protect (utt.save.wave {spoken} \"{folder}/b{i}.wav\" 'riff) nil)")
    script = folder / "borrowed.scm"
    script.write_text("\n".join(lines))
    subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
    for i, text in enumerate(texts):
        path = folder / f"b{i}.wav"
        made = finish(text, "borrowed/" + voice, *read_wave(path), None) if path.exists() else None
        if made:
            yield made
