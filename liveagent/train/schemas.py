"""Tools that exist only in training: everyday ones written by hand, and random ones nobody ever saw.

`UseCase` is a tool with ways to ask for it and answers it may give. A model trained on many of them reads the tools
in its prompt in place of remembering a fixed set.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from liveagent.argument import Argument
from liveagent.spoken import int_to_words
from liveagent.tool import Tool
from liveagent.train.words import ADJECTIVES, NAMES, NOUNS, VERBS


def nothing() -> None:
    """The function behind a tool that is only talked about."""


@dataclass
class UseCase:
    """A tool, phrases that call it (`arg=value:` in front fixes an argument) and texts it may answer."""

    tool: Tool
    phrases: list[str]
    results: list[str]
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    near: list[str] = field(default_factory=list)  # words that sound like it and mean something else


def expand(rng: random.Random, phrase: str) -> str:
    """One wording of a phrase; `{names}` stay. `a|b` outside brackets is a choice too."""
    while True:
        found = re.search(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]", phrase)
        if not found:
            return " ".join(rng.choice(phrase.split("|")).split())
        if found[1] is not None:
            chosen = rng.choice(found[1].split("|"))
        else:
            chosen = rng.choice(found[2].split("|")) if rng.random() < 0.4 else ""
        phrase = phrase[: found.start()] + chosen.replace("|", " ") + phrase[found.end() :]


def top_choice(rng: random.Random, phrase: str) -> str:
    """One branch of a phrase with `|` outside brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(phrase):
        depth += (c in "([") - (c in ")]")
        if c == "|" and depth == 0:
            parts.append(phrase[start:i])
            start = i + 1
    return rng.choice([*parts, phrase[start:]])


# name: description; arguments "name=kind" (a,b,c: choice; int lo-hi; text; bool); phrases; answers
EVERYDAY = """
thermostat: set the temperature ; degrees=int 10-30 ; room=kitchen,bedroom,office,living room,bathroom
  set [the] {room} [temperature] to {degrees} degrees | make it {degrees} degrees in the {room} | heat the {room} to {degrees} [degrees] | i want {degrees} degrees in the {room} | warm up the {room} to {degrees} degrees | turn the {room} heating to {degrees}
  the {room} is set to {degrees} degrees | heating the {room}
fan: switch the fan ; state=on,off
  turn {state} the fan | turn the fan {state} | switch the fan {state} | fan {state} | state=off: kill the fan | state=on: i need some air | state=on: it is too hot here | state=off: stop the fan
  the fan is {state} | fan {state}
heater: switch a heater ; room=kitchen,bedroom,office,garage,cellar ; state=on,off
  (turn|switch|put) {state} the {room} heater | turn the heater in the {room} {state} | {room} heater {state} | state=off: kill the heater in the {room} | state=on: it is cold in the {room} | have the heater in the {room} {state} | state=off: could you kill the {room} heater | i'd like the {room} heater {state}
  the {room} heater is {state} | done
television: switch the tv ; state=on,off
  turn {state} the (tv|television) | turn the (tv|television) {state} | (tv|television) {state} | state=off: kill the (tv|television) | i want to watch (tv|television) state=on | have the television {state} | i'd like the tv {state}
  the television is {state}
channel: choose a channel ; channel=news,sports,movies,music,kids,weather
  (switch|go|change) to [the] {channel} [channel] | put on {channel} | i want to watch {channel} | show me the {channel} [channel] | channel {channel} | next watch {channel}
  now showing {channel} | {channel} channel
volume: set the volume ; level=int 0-100
  [set|turn] [the] volume to {level} | make it {level} loud | volume {level} | set the sound to {level} | put the volume at {level} percent
  volume is {level} | the volume is now {level}
louder: make it louder
  (make it|turn it) (louder|up) | louder please | turn up the (volume|sound|music) | i can't hear the music | more volume
  the volume is higher | louder now
play: play some music ; genre=jazz,rock,pop,classical,blues,country
  play [some|a bit of] {genre} [music] | i want to hear [some] {genre} | put on [some] {genre} [music] | {genre} music please | let us listen to {genre} | can we have some {genre}
  playing {genre} | here is some {genre} music
pause: pause the music
  pause [the music] | (hold|stop|kill) the music | music off | stop playing | silence the music
  the music is paused | paused
next_song: play the next song
  next (song|track) | skip [this song|it] | play the next (song|track|one) | i do not like this song | another song
  next song
door: lock or unlock a door ; door=front,back,garage,garden,cellar ; action=lock,unlock
  {action} the {door} door | {action} [the] {door} | please {action} the {door} door for me | action=lock: is the {door} door safe lock it | i'd like you to {action} the {door} door | the {door} door {action} it
  the {door} door is {action}ed | {door} door {action}ed
blinds: move the blinds ; direction=up,down ; room=kitchen,bedroom,office,bathroom,studio
  (move|pull|put|take) the {room} blinds {direction} | blinds {direction} in the {room} | {room} blinds {direction} | direction=up: open the {room} blinds | direction=down: close the {room} blinds | direction=down: shut the blinds in the {room} | direction=up: raise the blinds in the {room} | direction=down: lower the {room} blinds
  the {room} blinds are {direction} | blinds {direction}
alarm: set an alarm ; hour=int 1-12 ; half=morning,evening
  wake me [up] at {hour} in the {half} | set an alarm for {hour} in the {half} | alarm at {hour} in the {half} | {half} alarm at {hour} | i need to get up at {hour} in the {half}
  alarm set for {hour} in the {half}
message: send a message ; person=mom,dad,anna,peter,the boss,my wife ; words=text
  (send|write) {person} a message saying {words} | text {person} {words} | tell {person} {words} | message {person} {words} | let {person} know {words} | send a message to {person} that {words} | write to {person} {words}
  message sent to {person} | sent
call: call somebody ; person=mom,dad,anna,peter,the boss,doctor,office
  (call|phone|ring) {person} | make a call to {person} | i want to (talk|speak) to {person} | get {person} on the phone | give {person} a call | dial {person}
  calling {person} | {person} does not answer
note: write a note ; words=text
  (note|note down|write down) [that] {words} | make a note saying {words} | take a note {words} | new note {words} | write {words} in my notes | please keep a note {words}
  note saved | i have noted it | saved
read_notes: read my notes
  read [me] my notes | what are my notes | what did i note | show my notes | tell me my notes
  {a} {n} | you have no notes | {n}, {n}
search: search for something ; query=text
  search for {query} | look up {query} | find {query} | search the web for {query} | google {query} | what can you find about {query} | look for {query} online
  {num} results for {query} | nothing found | the {n} is {a}
weather: say what the weather is ; city=london,paris,berlin,rome,madrid,new york
  what is the weather [like] in {city} | how is the weather in {city} | weather in {city} | is it raining in {city} | will it rain in {city} | how warm is it in {city}
  it is sunny in {city} | it is {num} degrees in {city} | rain in {city} | cloudy, {num} degrees
clock: tell the time
  what time is it | tell me the time | how late is it | what is the time [now] | do you have the time | the time please
  it is {num} o'clock | it is half past {num} | {num} thirty
date: tell the date
  what day is it [today] | what is the date | which day is today | tell me the date | what is today
  it is monday | today is friday | it is the third of may | sunday
vacuum: start the vacuum robot ; room=kitchen,bedroom,hallway,living room,attic
  vacuum the {room} | clean the {room} [floor] | send the vacuum to the {room} | the {room} is dirty | start vacuuming [in] the {room} | hoover the {room}
  cleaning the {room} | the vacuum is on its way | the bin is full
coffee: make coffee ; kind=espresso,latte,black,cappuccino ; cups=int 1-8
  make [me] {cups} {kind} [coffees] | i want {cups} {kind} | {cups} {kind} please | brew {cups} cups of {kind} | prepare {cups} {kind} | can i have {cups} {kind}
  making {cups} {kind} | no beans left, please fill the machine
oven: heat the oven ; degrees=int 50-250
  (heat|preheat|set|turn) the oven to {degrees} [degrees] | oven at {degrees} degrees | make the oven {degrees} degrees hot | i need the oven at {degrees}
  the oven is heating to {degrees} degrees
robot_vision: look at something ; side=left,right,front,behind
  look [to the] {side} | what is on the {side} | turn your head {side} | look {side} please | check the {side}
  there is a {n} | i see a {a} {n} | nothing there
rotate: turn the robot ; degrees=int 1-360 ; side=left,right
  (turn|rotate|spin) [to the] {side} [by] {degrees} degrees | {degrees} degrees [to the] {side} | rotate {degrees} degrees {side} | make a turn {side} of {degrees} degrees
  turned {side} by {degrees} degrees
speed: set the speed ; speed=slow,normal,fast
  go {speed} | move {speed} | speed {speed} | set [the] speed to {speed} | drive {speed} please | change to {speed} speed
  speed is {speed} | now {speed}
patrol: walk around the house ; times=int 1-10
  patrol [the house] {times} times | walk around {times} times | do {times} rounds | make {times} rounds through the house | {times} patrols
  starting {times} rounds
follow: follow a person ; person=me,anna,the child,the dog
  follow {person} | walk behind {person} | stay with {person} | go after {person} | accompany {person}
  following {person}
photo: take a picture
  take a (picture|photo) | make a (photo|picture) [please] | snap a picture | shoot a photo | say cheese
  picture saved | photo number {num}
battery: tell the battery's charge
  how full is the battery | what is the battery level | battery status | how much battery is left | do you need charging
  {num} percent | the battery is low | {num} percent left
charge: drive to the charger
  (go|drive) [back] to the charger | charge [yourself] | dock yourself | go and charge | return to your dock
  on my way to the charger
calendar: add an appointment ; day=monday,tuesday,wednesday,thursday,friday,saturday,sunday ; title=text
  (add|put|write) {title} on {day} | appointment on {day} {title} | {day} i have {title} | schedule {title} for {day} | new appointment {title} on {day} | plan {title} on {day}
  {title} on {day} | added to your calendar
agenda: tell what is planned on a day ; day=monday,tuesday,wednesday,thursday,friday,saturday,sunday
  what is (planned|on) for {day} | what do i have on {day} | tell me my plans for {day} | am i free on {day} | is there anything on {day}
  nothing on {day} | {n} at {num} | you have a {n} and a {n}
translate: translate words ; language=french,german,spanish,italian,japanese ; words=text
  translate {words} (to|into) {language} | how do you say {words} in {language} | what is {words} in {language} | say {words} in {language} | {language} for {words}
  {n} | the {language} word is {n}
convert: convert money ; amount=int 1-1000 ; currency=dollars,euros,pounds,yen
  how much is {amount} {currency} | convert {amount} {currency} | change {amount} {currency} | what are {amount} {currency} worth | {amount} {currency} please convert
  it is {num} | about {num} {currency}
todo: add a task ; task=text
  add {task} to my (tasks|to do list) | i (have|need) to {task} | new task {task} | task {task} | put {task} on my to do list | remind me to {task}
  task added | added {task}
guess: start a guessing game ; difficulty=easy,medium,hard
  let us play a {difficulty} guessing game | start a {difficulty} game | i want to guess something {difficulty} | {difficulty} game please | play {difficulty}
  a {difficulty} game has started
dice: roll dice ; count=int 1-6
  roll {count} dice | throw {count} dice | {count} dice please | give me {count} dice | let the dice roll {count} times
  you got {num} | {num} and {num}
plant: water a plant ; plant=roses,tomatoes,basil,ferns,lawn ; liters=int 1-20
  (water|give) the {plant} {liters} liters | {liters} liters for the {plant} | give {liters} liters of water to the {plant} | the {plant} (need|needs) {liters} liters | water the {plant} with {liters} liters
  the {plant} got {liters} liters | no water in the tank
pet: feed a pet ; pet=cat,dog,fish,rabbit ; portions=int 1-5
  feed the {pet} {portions} portions | give the {pet} {portions} portions | {portions} portions for the {pet} | the {pet} is hungry give it {portions} portions | serve {portions} portions to the {pet}
  the {pet} was fed | {pet} food is empty
bell: ring the bell
  ring the bell | ring [please] | sound the bell | make the bell ring | ding dong
  the bell rang
gate: open or close the gate ; open=bool
  open=yes: open the gate | open=no: close the gate | open=yes: let the car in | open=no: shut the gate | open=yes: gate open | open=no: gate closed please
  the gate moves | done
mute: mute the microphone ; muted=bool
  muted=yes: mute the microphone | muted=no: unmute the microphone | muted=yes: do not listen | muted=no: listen again | muted=yes: microphone off | muted=no: microphone on
  done | the microphone has changed
""".strip()

EVERYDAY_HELD_OUT = """
sprinkler: switch a sprinkler ; zone=lawn,hedge,orchard,patio ; state=on,off
  turn {state} the {zone} sprinkler | sprinkler {state} on the {zone} | (switch|put) the {zone} sprinkler {state} | please turn the sprinkler for the {zone} {state}
  the {zone} sprinkler is {state}
elevator: go to a floor ; floor=int 1-20
  (go|take me) to floor {floor} | floor {floor} please | bring the elevator to floor {floor}
  going to floor {floor}
paint: mix a paint ; color=beige,teal,crimson,ivory ; liters=int 1-50
  mix {liters} liters of {color} [paint] | i need {liters} liters of {color} | {liters} liters {color} please | prepare {liters} liters of {color} paint
  mixing {liters} liters of {color}
taxi: order a taxi ; place=airport,station,hotel,museum
  order a taxi to the {place} | i need a taxi to the {place} | (get|call) me a taxi to the {place} | taxi to the {place}
  the taxi to the {place} is coming
diary: write into the diary ; words=text
  write {words} into my diary | diary {words} | dear diary {words} | put {words} in the diary
  written
drone: fly the drone ; direction=north,south,east,west ; meters=int 1-100
  fly {meters} meters {direction} | fly {direction} {meters} meters | drone {direction} {meters} meters | let the drone fly {meters} meters {direction}
  flying {direction}
washer: start the washing machine ; program=cotton,wool,quick,delicate
  start the washing machine with {program} | wash [on] {program} | run the {program} program | start a {program} wash
  the {program} program runs
locker: open a locker ; number=int 1-99
  open locker [number] {number} | locker {number} please | unlock locker {number} | i want locker {number}
  locker {number} is open
""".strip()


def argument(name: str, kind: str) -> Argument:
    """`int 1-60`, `text`, `bool` or choices with commas."""
    if kind.startswith("int"):
        low, high = kind[4:].split("-")
        return Argument(name, "int", low=float(low), high=float(high))
    if kind in ("text", "bool"):
        return Argument(name, kind)  # type: ignore[arg-type]
    return Argument(name, "choice", choices=tuple(kind.split(",")))


def parse(text: str) -> list[UseCase]:
    """Read blocks of three lines as above."""
    lines = text.split("\n")
    cases = []
    for head, phrases, results in zip(lines[0::3], lines[1::3], lines[2::3], strict=True):
        name, rest = head.split(":", 1)
        about, *args = (part.strip() for part in rest.split(" ; "))
        arguments = tuple(argument(*a.split("=", 1)) for a in args)
        said = [p.strip() for p in re.split(r" \| ", phrases.strip()) if "state=on" not in p or p.strip().startswith("state")]
        tool = Tool(name, about, nothing, arguments)
        cases.append(UseCase(tool, said, [r.strip() for r in results.split(" | ")]))
    return cases


VOWELS = "a e i o u a e o ai ee ou".split()
ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr sh ch th qu".split()
CODAS = "b d g k l m n p r s t x nd nt rk st ll ck sh".split()


def invented(rng: random.Random) -> str:
    """A word that is in no dictionary: "plonder", "zair"."""
    word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.choice([1, 1, 2])))
    return word + rng.choice(CODAS) + rng.choice(["", "", "", "er", "o", "y"])


def any_word(rng: random.Random, pool: list[str]) -> str:
    return invented(rng) if rng.random() < 0.25 else rng.choice(pool)


def number_value(rng: random.Random, low: int, high: int) -> str:
    return int_to_words(rng.randint(low, high))


def free_words(rng: random.Random, most: int = 5) -> str:
    """What a user might dictate."""
    pools = [NOUNS, NOUNS, VERBS, ADJECTIVES, NAMES]
    count = rng.randint(1, most)
    words = [any_word(rng, rng.choice(pools)) for _ in range(count)]
    if count > 2 and rng.random() < 0.5:
        words[rng.randrange(count - 1)] = rng.choice(["the", "my", "to", "a", "for", "with", "is", "and", "in"])
    return " ".join(words)


def values_of(rng: random.Random, arg: Argument) -> str:
    """Some value of an argument, in words."""
    if arg.kind == "text":
        return free_words(rng)
    if arg.kind in ("int", "float"):
        low, high = int(arg.low or 0), int(9999 if arg.high is None else arg.high)
        return number_value(rng, low, min(high, low + 100) if rng.random() < 0.8 else high)
    return rng.choice(["yes", "no"] if arg.kind == "bool" else list(arg.slots))


def random_case(rng: random.Random) -> UseCase:
    """A tool nobody ever saw: name, arguments, values and wordings drawn at random."""
    verb, noun = any_word(rng, VERBS), any_word(rng, NOUNS)
    adjective = rng.choice(ADJECTIVES)
    other = rng.choice(VERBS)  # a second verb that only the description knows
    style = rng.random()
    name = f"{verb} {noun}" if style < 0.5 else noun if style < 0.75 else f"{noun} {verb}" if style < 0.9 else verb
    about = rng.choice([
        f"{verb} the {noun}", f"{verb} a {noun}", f"{verb} or {other} the {noun}", f"{other} a {adjective} {noun}",
        f"{verb} the {adjective} {noun}", f"{verb} {noun}", f"{other} the {noun}", f"say how to {verb} the {noun}",
    ])  # fmt: skip
    arguments: list[Argument] = []
    ways: dict[str, list[str]] = {}
    for _ in range(rng.choices([0, 1, 2, 3], [15, 45, 32, 8])[0]):
        arg_name = any_word(rng, NOUNS)
        if arg_name in ways or arg_name == noun:
            continue
        kind = rng.choices(["choice", "int", "text", "bool"], [58, 22, 15, 5])[0]
        if kind == "text" and any(a.kind == "text" for a in arguments):
            kind = "choice"
        if kind == "choice":
            pool = rng.choice([NOUNS, NOUNS, ADJECTIVES, NAMES, VERBS])
            words = {any_word(rng, pool) if rng.random() < 0.85 else f"{rng.choice(ADJECTIVES)} {any_word(rng, NOUNS)}"
                     for _ in range(rng.randint(2, 7))}  # fmt: skip
            if rng.random() < 0.08:
                words = {"on", "off"} if rng.random() < 0.5 else {"up", "down"}
            if len(words) < 2:
                continue
            values = sorted(words)
            rng.shuffle(values)
            arguments.append(Argument(arg_name, "choice", choices=tuple(values)))
        elif kind == "int":
            low = rng.choice([0, 1, 1, 5, 10])
            arguments.append(Argument(arg_name, "int", low=low, high=low + rng.choice([9, 20, 59, 90, 500])))
        else:
            arguments.append(Argument(arg_name, kind))  # type: ignore[arg-type]
        ways[arg_name] = {
            "choice": [f"{{{arg_name}}}", f"to {{{arg_name}}}", f"in the {{{arg_name}}}", f"with {{{arg_name}}}",
                       f"{arg_name} {{{arg_name}}}", f"with {arg_name} {{{arg_name}}}", f"for {{{arg_name}}}",
                       f"on the {{{arg_name}}}", f"by {{{arg_name}}}", f"at {{{arg_name}}}", f"the {{{arg_name}}} {arg_name}",
                       f"from the {{{arg_name}}}", f"as {{{arg_name}}}"],
            "int": [f"{{{arg_name}}} {arg_name}s", f"{{{arg_name}}} times", f"{arg_name} {{{arg_name}}}",
                    f"to {{{arg_name}}}", f"by {{{arg_name}}}", f"with {{{arg_name}}} {arg_name}", f"at {{{arg_name}}}",
                    f"{{{arg_name}}}"],
            "text": [f"saying {{{arg_name}}}", f"{{{arg_name}}}", f"that {{{arg_name}}}", f"with {arg_name} {{{arg_name}}}",
                     f"about {{{arg_name}}}", f"{arg_name} {{{arg_name}}}", f"called {{{arg_name}}}"],
            "bool": [f"{arg_name} {{{arg_name}}}", f"with {arg_name} {{{arg_name}}}"],
        }[kind]  # fmt: skip
    arguments.sort(key=lambda a: a.kind == "text")
    core = [f"{verb} the {noun}", f"{verb} {noun}", f"{verb} a {noun}", f"{noun} {verb}", f"{verb} my {noun}",
            f"i want to {verb} the {noun}", f"{verb} the {noun} now", f"{other} the {noun}" if other in about else f"the {noun} {verb}",
            f"i need the {noun} to {verb}", f"let us {verb} the {noun}"]  # fmt: skip
    phrases = []
    for _ in range(4):
        head, tail = [rng.choice(core)], []
        free = [a for a in arguments if a.kind == "text"]
        rest = [a for a in arguments if a.kind != "text"]
        rng.shuffle(rest)
        front = ""
        for a in rest:
            if a.kind == "choice" and rng.random() < 0.15 and not front:
                front = f"{{{a.name}}}"
            else:
                tail.append(rng.choice(ways[a.name]))
        if front:
            head = [rng.choice([f"{verb} the {front} {noun}", f"{front} {noun} {verb}", f"{verb} {front} {noun}",
                                f"in the {front} {verb} the {noun}"])]  # fmt: skip
        tail += [rng.choice(ways[a.name]) for a in free]
        if tail and not free and not front and rng.random() < 0.15:
            phrases.append(" ".join(tail + head))
        elif rest and not free and rng.random() < 0.12:
            phrases.append(f"{noun} " + " ".join(f"{{{a.name}}}" for a in rest))
        else:
            phrases.append(" ".join(head + tail))
    named = [f"{{{a.name}}}" for a in arguments if a.kind != "text"]
    some = rng.choice(named) if named else noun
    results = [
        "done", "okay", "ready", f"the {noun} is {rng.choice(ADJECTIVES)}", f"{noun} {some}", f"the {noun} is at {some}",
        f"{verb} {noun} done", f"{some}", "{num} {n}s", "the {n} is {a}", "{n}, {n} and {n}", "it is {a}", "there is no {n}",
        f"i have {{num}} {noun}s", f"{some} it is", "{a} {n}, {a} {n}", f"{noun} number {{num}}",
    ]  # fmt: skip
    missing = []
    needed = [a for a in arguments if a.kind == "choice"]
    if needed and len(arguments) == 1:
        ask = needed[0].name
        missing.append((rng.choice([f"{verb} the {noun}", f"{verb} a {noun}", f"{noun} {verb}"]), ask, f"Which {ask}?"))
    wrong_noun, wrong_verb = rng.choice(NOUNS), rng.choice(VERBS)
    near = [f"{verb} the {wrong_noun}", f"{wrong_verb} the {wrong_noun}", f"what is a {noun}", f"where is the {wrong_noun}"]
    return UseCase(Tool(name.replace(" ", "_"), about, nothing, tuple(arguments)), phrases, results, missing, near)


def fill(rng: random.Random, text: str, values: Mapping[str, str]) -> str:
    """Put values and random words into a text with `{names}`."""

    def one(found: re.Match[str]) -> str:
        name = found[1]
        if name in values:
            return values[name]
        pool = {"n": NOUNS, "noun": NOUNS, "a": ADJECTIVES, "adjective": ADJECTIVES, "name": NAMES, "verb": VERBS}.get(name)
        if pool is None:
            return int_to_words(rng.randint(2, 99))
        return rng.choice(pool)

    return re.sub(r"\{([^}]*)\}", one, text)
