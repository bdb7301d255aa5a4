"""piper's and Kokoro's voices, through their own libraries, with tiny files of the right shape (tiny_voices.py)."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

pytest.importorskip("piper")
pytest.importorskip("kokoro_onnx")

from typer.testing import CliRunner

from liveagent.agent import Agent
from liveagent.cli import app
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import espeak_child as wire
from liveagent.ports import kokoro, piper, voice_process
from liveagent.ports.kokoro import KokoroVoice
from liveagent.ports.kokoro_child import KokoroSynthesiser
from liveagent.ports.onnx_session import OnnxSession
from liveagent.ports.piper import PiperVoice
from liveagent.ports.piper_child import PiperSynthesiser
from liveagent.ports.sentence_child import SentenceChild, Sound
from liveagent.ports.voice_file import VoiceFile, shown
from liveagent.ports.voice_process import ProcessVoice
from liveagent.runtime.devices import find_voice, make_voice
from liveagent.voice import SpokenWord, words_of
from tests import test_voice as contract
from tests import tiny_voices

pytestmark = pytest.mark.slow
Kind: TypeAlias = str
TEXT = "Of the 25 people, who? Shall I turn it off again?"
LONG = "Yes, it is. It goes " + "and so it goes on and on without an end " * 4 + "until somebody stops it."
MORE_THAN_ONE = 40
"""Ids: the first sentence of LONG has fewer."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    folder = tmp_path_factory.mktemp("voices")
    found = {"piper": tiny_voices.piper_voice(folder)}
    found["silent piper"] = tiny_voices.piper_voice(folder, "silent", tells=False)
    for name, tells in [("kokoro", True), ("silent kokoro", False)]:
        (folder / name).mkdir()
        found[name] = tiny_voices.kokoro_voice(folder / name, tells=tells)
    return found


@pytest.fixture(scope="module", autouse=True)
def warm(files: dict[Kind, Path]) -> Iterator[None]:
    """The processes that most tests share are started once."""
    held = [make_voice(str(path)) for path in files.values()]

    async def start() -> None:
        await asyncio.gather(*(voice.open() for voice in held))

    async def end() -> None:
        for voice in held:
            await voice.close()

    asyncio.run(start())
    assert len(voice_process._SHARED) == len(held)
    yield
    asyncio.run(end())
    assert not voice_process._SHARED


async def said(voice: ProcessVoice, text: str, utterance: int = 1) -> tuple[np.ndarray, list[SpokenWord]]:
    pieces = [piece async for piece in voice.say(text, utterance)]
    assert pieces[-1].final
    return np.concatenate([piece.samples for piece in pieces]), [word for piece in pieces for word in piece.words]


def using(path: Path | str, use: Callable[[ProcessVoice], AsyncIterator[None]] | Callable[..., object]) -> None:
    async def main() -> None:
        voice = make_voice(str(path))
        try:
            await use(voice)  # type: ignore[misc]
        finally:
            await voice.close()

    asyncio.run(main())


def heard(sound: np.ndarray) -> list[tuple[int, int]]:
    """The stretches of sound between silences, as one hears them."""
    loud = np.abs(sound) > 0.02
    close = np.convolve(loud, np.ones(120), "same") > 0  # a tone crosses zero too
    edges = np.flatnonzero(np.diff(np.concatenate([[0], close.astype(int), [0]])))
    return [(int(a) + 60, int(b) - 60) for a, b in zip(edges[::2], edges[1::2], strict=True)]


CHECKS = [check for name, check in sorted(vars(contract).items()) if name.startswith("test_") and "text" not in name]


@pytest.mark.parametrize("kind", ["piper", "silent piper", "kokoro", "silent kokoro"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_contract(
    kind: Kind, check: Callable[[], None], files: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "make_voice", lambda: make_voice(str(files[kind])))
    check()


@pytest.mark.parametrize("kind", ["piper", "kokoro"])
@pytest.mark.parametrize("text", ["", " \n", "...", "Yes.", "\x01 a\x00b [[x]] <b>", "naïve 😀 Straße 12,345 of the;"])
def test_no_text_breaks_it(kind: Kind, text: str, files: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "make_voice", lambda: make_voice(str(files[kind])))
    contract.test_no_text_breaks_it(text)


@pytest.mark.parametrize(
    ("kind", "off"), [("piper", 40), ("kokoro", 40), ("silent piper", 4_000), ("silent kokoro", 4_000)]
)
def test_a_word_ends_where_its_sound_does(kind: Kind, off: int, files: dict[Kind, Path]) -> None:
    """What is heard between two silences is told to be one word, or several that are said as one ("of the"). A file
    that tells no durations is off by what its silences last longer than they are taken for."""

    async def use(voice: ProcessVoice) -> None:
        sound, words = await said(voice, TEXT)
        runs = heard(sound)
        by_name = {TEXT[word.char_start : word.char_end]: word for word in words}
        assert [(word.char_start, word.char_end) for word in words] == words_of(TEXT)
        last_of_run = ["the", "25", "people,", "who?", "Shall", "I", "turn", "it", "off", "again?"]
        # "25" is two words to a phonemiser, so two stretches of sound.
        ends = [end for at, (_, end) in enumerate(runs) if at != 1]
        assert len(ends) == len(last_of_run)
        for name, end in zip(last_of_run, ends, strict=True):
            assert abs(by_name[name].sample_end - end) <= off, name
        assert by_name["Of"].sample_end == by_name["the"].sample_start

    using(files[kind], use)


@pytest.mark.parametrize("kind", ["piper", "kokoro"])
def test_the_first_sentence_sounds_before_the_next_and_a_sentence_is_stopped_within(kind: Kind, tmp_path: Path) -> None:
    """The second sentence of LONG is never done, so that the first can only be heard if it did not wait for it, and a
    second utterance only if the first was aborted where it was."""
    make = tiny_voices.piper_voice if kind == "piper" else tiny_voices.kokoro_voice

    async def use(voice: ProcessVoice) -> None:
        for stop in (True, False):
            pieces = voice.say(LONG, 1)
            words: list[SpokenWord] = []
            async for piece in pieces:
                words += piece.words
                if len(words) == 3 and len(piece.samples):
                    break
            if stop:
                voice.stop(1)
                assert [piece async for piece in pieces if piece.final] == []
            await pieces.aclose()
            assert len((await said(voice, "Yes.", 2))[0]) > 1_000

    using(make(tmp_path, hangs_above=MORE_THAN_ONE), use)


def test_sessions_share_one_process_and_take_turns(files: dict[Kind, Path]) -> None:
    async def main() -> None:
        one, other = PiperVoice(files["piper"]), PiperVoice(files["piper"])
        await asyncio.gather(one.open(), other.open())
        assert one._child is other._child and one._child is not None
        done: list[str] = []

        async def say(voice: ProcessVoice, name: str, text: str) -> None:
            await said(voice, text)
            done.append(name)

        long = asyncio.create_task(say(one, "long", "It is so. " * 60))
        await asyncio.sleep(0)
        await asyncio.gather(long, say(other, "short", "Yes."))
        assert done == ["short", "long"]
        await one.close()
        assert len((await said(other, "Yes."))[0]) > 1_000
        await other.close()

    asyncio.run(main())


def test_a_killed_process_comes_back_for_all(files: dict[Kind, Path]) -> None:
    async def main() -> None:
        one, other = KokoroVoice(files["kokoro"], rate=1.5), KokoroVoice(files["kokoro"], rate=1.5)
        await asyncio.gather(one.open(), other.open())
        assert one._child is not None
        one._child.process.kill()
        one._child.process.wait()
        (first, _), (second, _) = await asyncio.gather(said(one, "Yes."), said(other, "Yes."))
        assert len(first) == len(second) > 1_000 and one._child is other._child
        child = one._child
        await one.close()
        await other.close()
        assert child is not None and child.process.poll() is not None

    asyncio.run(main())


def test_a_speaker_by_name_and_by_number(files: dict[Kind, Path], tmp_path: Path) -> None:
    voices = files["kokoro"].with_name("voices-v1.0.bin")

    def loudest(synthesiser: PiperSynthesiser | KokoroSynthesiser) -> float:
        return float(np.abs(synthesiser.speak("Yes.").samples).max())

    usual = loudest(KokoroSynthesiser(files["kokoro"], voices))
    assert loudest(KokoroSynthesiser(files["kokoro"], voices, "bf_emma")) == pytest.approx(usual / 2, rel=0.01)
    with pytest.raises(ConfigError, match="no speaker 'nobody': it has af_heart, bf_emma"):
        KokoroSynthesiser(files["kokoro"], voices, "nobody")
    many = tiny_voices.piper_voice(tmp_path, speakers=3)
    settings = many.with_name("tiny.onnx.json")
    for speaker in ("", "speaker2", "1"):
        assert loudest(PiperSynthesiser(many, settings, speaker)) > 0.3
    with pytest.raises(ConfigError, match="no speaker '3': it has speaker0, speaker1, speaker2"):
        PiperSynthesiser(many, settings, "3")


def test_what_cannot_speak_says_so_in_one_line(files: dict[Kind, Path], tmp_path: Path) -> None:
    whole, other = files["piper"].read_bytes(), files["kokoro"].read_bytes()
    settings = files["piper"].with_name("tiny.onnx.json").read_text()
    voices = files["kokoro"].with_name("voices-v1.0.bin").read_bytes()

    def piper_of(model: bytes = whole, beside: str = settings) -> PiperSynthesiser:
        (tmp_path / "a.onnx").write_bytes(model)
        (tmp_path / "a.onnx.json").write_text(beside)
        return PiperSynthesiser(tmp_path / "a.onnx", tmp_path / "a.onnx.json")

    def kokoro_of(
        model: bytes = other, beside: bytes = voices, speaker: str = "", language: str = ""
    ) -> KokoroSynthesiser:
        (tmp_path / "k.onnx").write_bytes(model)
        (tmp_path / "v.bin").write_bytes(beside)
        return KokoroSynthesiser(tmp_path / "k.onnx", tmp_path / "v.bin", speaker, language)

    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: piper_of(whole[: len(whole) // 2]), DeviceError, "a.onnx is damaged"),
        (lambda: piper_of(b""), DeviceError, "a.onnx is damaged"),
        (lambda: piper_of(other), DeviceError, "a.onnx is no voice of piper: it takes"),
        (lambda: piper_of(beside="{"), DeviceError, "a.onnx.json is damaged"),
        (lambda: piper_of(beside="{}"), DeviceError, "a.onnx.json is damaged or no settings of piper"),
        (lambda: piper_of(beside="[]"), DeviceError, "a.onnx.json is damaged or no settings of piper"),
        (lambda: piper_of(beside=settings.replace("en-us", "xx-klingon")), ConfigError, "a.onnx speaks 'xx-klingon'"),
        (lambda: piper_of(beside=settings.replace('"espeak",', '"pinyin",')), ConfigError, "a.onnx.json is for pinyin"),
        (lambda: kokoro_of(other[:700]), DeviceError, "k.onnx is damaged"),
        (lambda: kokoro_of(whole), DeviceError, "k.onnx is not Kokoro: it takes"),
        (lambda: kokoro_of(other, b"PK\x03\x04 and no more"), DeviceError, "v.bin is damaged"),
        (lambda: kokoro_of(other, b"\x80\x04N."), DeviceError, "v.bin is damaged"),  # a pickle is not opened
        (lambda: kokoro_of(other, voices.replace(b"NUMPY", b"LUMPY")), DeviceError, "v.bin is damaged"),
        (lambda: kokoro_of(other, voices, "xx_nobody"), ConfigError, "'xx_nobody' does not say its language"),
        (lambda: kokoro_of(other, voices, "af_heart", "klingon"), ConfigError, "espeak-ng has no language 'klingon'"),
    ]
    for make, kind, said in cases:
        with pytest.raises(kind) as caught:
            make()
        assert str(caught.value).startswith(said) and "\n" not in str(caught.value) and len(str(caught.value)) < 300

    async def opened(voice: ProcessVoice) -> str:
        with pytest.raises((ConfigError, DeviceError)) as caught:
            await voice.open()
        return f"{type(caught.value).__name__}: {caught.value}"

    async def main() -> list[str]:  # and through the pipe
        cut = tmp_path / "cut.onnx"
        cut.write_bytes(whole[:700])
        cut.with_name("cut.onnx.json").write_text(settings)
        return list(await asyncio.gather(opened(make_voice(str(cut))), opened(make_voice(f"{files['kokoro']}#nobody"))))

    damaged, nobody = asyncio.run(main())
    assert damaged.startswith("DeviceError: cut.onnx is damaged") and "\n" not in damaged
    assert nobody == "ConfigError: voices-v1.0.bin has no speaker 'nobody': it has af_heart, bf_emma, xx_nobody"


def test_a_library_that_is_missing(files: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, module in [("piper", piper), ("kokoro", kokoro)]:
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        voice = make_voice(str(files[kind]))
        assert not voice.probe().ok and f"liveagent[{kind}]" in voice.probe().fix

        async def main(voice: ProcessVoice = voice, kind: Kind = kind) -> None:
            with pytest.raises(DeviceError, match=rf'is not installed: pip install "liveagent\[{kind}\]"'):
                await voice.open()
            # Asked for by name: then it must be there, and nobody goes on without a voice.
            with pytest.raises(DeviceError, match="not installed"):
                await find_voice(Agent(voice=str(files[kind])), lambda code, message: None)

        asyncio.run(main())
        out = CliRunner().invoke(app, ["talk", "voice", "--text", "--voice", str(files[kind])])
        assert out.exit_code == 3 and f"liveagent[{kind}]" in out.stderr and out.stderr.count("\n") == 1


def test_which_voice_a_file_is(files: dict[Kind, Path], tmp_path: Path) -> None:
    assert isinstance(make_voice(str(files["piper"])), PiperVoice)
    assert isinstance(make_voice(f"{files['kokoro']}#bf_emma"), KokoroVoice)
    assert make_voice("en-gb").name == "espeak-ng en-gb"
    assert VoiceFile.of("en-us") is None and VoiceFile.of("espeak") is None
    lone = tmp_path / "lone.onnx"
    lone.write_bytes(b"")
    for named, match in [
        (str(tmp_path / "none.onnx"), "there is no voice file"), (str(tmp_path / "voices-v1.0.bin"), "give its .onnx"),
        (str(lone), "wants beside it lone.onnx.json .* or one file voices….bin .*: there is neither"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=match):
            make_voice(named)
    for name in ("voices-v1.0.bin", "voices-v1.1.bin"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match="there is several"):
        make_voice(str(lone))
    with pytest.raises(ConfigError, match="no voice of piper"):
        PiperVoice(files["kokoro"])
    with pytest.raises(ConfigError, match="is not Kokoro"):
        KokoroVoice(files["piper"])
    assert shown("/home/me/voices/lessac.onnx#3") == "lessac#3" and shown("en-us") == "en-us" and shown(None) is None
    out = CliRunner().invoke(app, ["talk", "voice", "--text", "--voice", str(tmp_path / "none.onnx")])
    assert out.exit_code == 2 and "there is no voice file" in out.stderr and out.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["piper", "kokoro"])
def test_no_word_reaches_a_log(kind: Kind, files: dict[Kind, Path]) -> None:
    """Both libraries log what is said, or its phones; kokoro-onnx does wherever LOG_LEVEL asks for it."""
    child = subprocess.Popen(
        make_voice(str(files[kind]))._command(), env={**os.environ, "LOG_LEVEL": "DEBUG"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    text = "The ☃ quetzal 漢 sleeps.".encode()
    assert child.stdin is not None
    out, err = child.communicate(wire.HEADER.pack(wire.SAY, 1, len(text)) + text, timeout=60)
    assert out[:1] == bytes([wire.READY])
    assert b"quetzal" not in err and "kwˈɛ".encode() not in err and "漢".encode() not in err
    assert child.returncode == 0, "the process leaves by itself when its parent is gone"


class Broken:
    """A synthesiser that says what it was given in its error."""

    rate_hz = 16_000

    def __init__(self, sound: Sound | None = None) -> None:
        self.sound = sound

    def begin(self) -> None: ...

    def stop(self) -> None: ...

    def speak(self, sentence: str) -> Sound:
        if self.sound is None:
            raise ValueError(f"cannot say {sentence}")
        return self.sound


def far_end(synthesiser: Broken, text: str) -> list[tuple[int, bytes]]:
    """What comes back."""
    read, write = os.pipe()
    os.write(write, wire.HEADER.pack(wire.SAY, 1, len(text)) + text.encode())
    out = io.BytesIO()
    with os.fdopen(read, "rb") as inward:
        thread = threading.Thread(target=SentenceChild(synthesiser, inward, out).run)
        thread.start()
        while thread.is_alive() and not any(kind in (wire.END, wire.ERROR) for kind, _ in frames(out.getvalue())):
            thread.join(0.01)
        os.close(write)
        thread.join()
    return frames(out.getvalue())


def frames(data: bytes, job: int = 1) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + wire.HEADER.size <= len(data):
        kind, number, length = wire.HEADER.unpack_from(data, at)
        at += wire.HEADER.size
        if number == job:
            found.append((kind, data[at : at + length]))
        at += length
    return found


def test_an_error_says_its_kind_and_no_words() -> None:
    assert far_end(Broken(), "my secret") == [(wire.ERROR, b"ValueError")]
    for samples, spans, said in [
        (np.array([np.nan], np.float32), [(0, 1)], b"no sound"),
        (np.zeros(16_000 * 91, np.float32), [(0, 1)], b"91 s of sound"),
        (np.zeros(10, np.float32), [], b"0 of 1 words"),
    ]:
        kind, what = far_end(Broken(Sound(samples, spans)), "secret")[-1]
        assert kind == wire.ERROR and said in what


def test_a_run_is_stopped_within(tmp_path: Path) -> None:
    path = tiny_voices.piper_voice(tmp_path, hangs_above=10)
    session = OnnxSession(str(path), "it")
    feeds = {
        "input": np.zeros((1, 20), np.int64), "input_lengths": np.array([20], np.int64),
        "scales": np.ones(3, np.float32),
    }  # fmt: skip
    failed: list[BaseException] = []

    def run() -> None:
        try:
            session.run(None, feeds)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    session.stop()
    thread.join()
    assert failed
    session.begin()
    feeds["input"] = np.ones((1, 5), np.int64)
    assert len(session.run(None, feeds)) == 1
    assert session.get_inputs()[0].name == "input"


def test_who_waits_is_told_that_others_are_spoken_for() -> None:
    """Else a wait behind long sentences of others would be taken for a hang, and end the process for all."""
    out = io.BytesIO()
    child = SentenceChild(Broken(), io.BytesIO(), out)
    for number, text in [(1, "One. "), (2, "Two.")]:
        child._inward = io.BytesIO(wire.HEADER.pack(wire.SAY, number, len(text)) + text.encode())
        child._read_jobs()
    child._closed = False  # that its input has ended is not what this is about
    job = child._next()
    assert job is not None and job.number == 1
    assert frames(out.getvalue(), 2) == [(wire.MARKS, b"")] and frames(out.getvalue(), 1) == []


def test_a_process_that_has_said_much_ends_and_the_next_word_starts_another(
    files: dict[Kind, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library loses with each sentence is lost no longer."""
    monkeypatch.setattr("liveagent.ports.sentence_child.MOST_SENTENCES", 2)
    said_frames = far_end(Broken(Sound(np.zeros(10, np.float32), [(0, 1)])), "One. Two. Three.")
    assert len([kind for kind, _ in said_frames if kind == wire.MARKS]) == 3  # what was begun is said to its end
    assert said_frames[-1][0] == wire.END

    few = "import sys; from liveagent.ports import sentence_child as s; s.MOST_SENTENCES = 1\n"
    code = few + "from liveagent.ports.piper_child import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *PiperVoice(files["piper"])._command()[4:]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None and process.stdout is not None
        process.stdin.write(wire.HEADER.pack(wire.SAY, 1, 4) + b"Yes.")
        process.stdin.flush()  # and stays open
        assert frames(process.stdout.read())[-1][0] == wire.END
        assert process.wait() == 0 and process.stderr.read() == b""

    async def main() -> None:
        voice = PiperVoice(files["piper"], rate=0.9)
        await voice.open()
        child = voice._child
        assert child is not None and child.process.stdin is not None
        child.process.stdin.close()  # it leaves as if it had said enough
        child.process.wait()
        assert len((await said(voice, "Yes."))[0]) > 1_000 and voice._child is not child
        await voice.close()

    asyncio.run(main())
