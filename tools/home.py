"""A home that exists in memory: lights, a shopping list, and where things lie; its timer is a real one, and rings.

Every tool here works on plain Python state, so the shipped agent can be tried on any machine. A real home is a source
of tools (`Home`) and takes the lights' place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from liveagent import tool
from liveagent.call import Call
from liveagent.tools.timers import NOBODY, minute_timer, timers

Room = Literal["kitchen", "bedroom", "bathroom", "living room", "hallway", "office", "garage", "garden"]
Item = Literal[
    "milk", "bread", "eggs", "butter", "cheese", "apples", "bananas", "coffee", "tea", "sugar", "salt", "rice",
    "pasta", "water", "soap", "tomatoes", "potatoes", "onions", "chicken", "fish", "juice", "yogurt", "chocolate",
]  # fmt: skip
Thing = Literal["keys", "phone", "wallet", "glasses", "book", "umbrella", "charger", "camera"]
Place = Literal["drawer", "kitchen", "table", "car", "shelf", "desk", "bag", "box", "hallway", "office"]
Percent = Literal[10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
Minutes = Annotated[int, Field(ge=1, le=60)]


@dataclass
class Home:
    """What the tools below remember."""

    lights: dict[str, int] = field(default_factory=dict)  # room -> brightness in percent
    timers_min: list[int] = field(default_factory=list)  # of calls that no conversation made: nobody to ring for
    shopping: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)  # thing -> place


home = Home()


def _be(thing: str) -> str:
    return "are" if thing in ("keys", "glasses") else "is"


def _where(thing: str) -> str:
    """The beginning of "the keys are on the table"."""
    place = home.places[thing]
    return f"the {thing} {_be(thing)} {'on' if place in ('table', 'shelf', 'desk') else 'in'}"


@tool(
    phrases=[
        "(turn|switch) {state} [the] {room} (light|lights) [please]",
        "(turn|switch) [the] {room} (light|lights) {state} [please]",
        "[please] (turn|switch) {state} the (light|lights) in the {room}",
        "{room} (light|lights) {state}",
    ]
)
async def light(room: Room, state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    home.lights[room] = 100 if state == "on" else 0
    return f"the {room} light is {state}"


@tool(phrases=["(dim|set) [the] {room} (light|lights) to {percent} percent"])
async def dim(room: Room, percent: Percent) -> str:
    """Set how bright a room's light is."""
    home.lights[room] = percent
    return f"the {room} light is at {percent} percent"


@tool(
    phrases=[
        "[please] set a timer for {minutes} (minute|minutes)",
        "[please] (set|start) a {minutes} minute timer",
    ]
)
async def timer(minutes: Minutes, call: Call = NOBODY) -> str:
    """Start a timer."""
    if call.session:
        timers.start(60 * minutes, minute_timer(minutes), call)
    else:
        home.timers_min.append(minutes)
    return f"timer set for {minutes} minute{'' if minutes == 1 else 's'}"


@tool(phrases=["cancel (the|my) timer", "stop the timer"])
async def cancel_timer(call: Call = NOBODY) -> str:
    """Cancel the last timer."""
    if timers.cancel(call.session):
        return "the timer is cancelled"
    if call.session or not home.timers_min:
        return "there is no timer"
    home.timers_min.pop()
    return "the timer is cancelled"


@tool(
    phrases=[
        "[please] (add|put) {item} (to|on) (the|my) shopping list",
        "[please] (add|put) {item} (to|on) the list",
    ]
)
async def add_item(item: Item) -> str:
    """Put something on the shopping list."""
    if item not in home.shopping:
        home.shopping.append(item)
    return f"{item} is on the list"


@tool(phrases=["what is on (the|my) shopping list", "read [me] (the|my) shopping list"])
async def read_list() -> str:
    """Read the shopping list."""
    if not home.shopping:
        return "the list is empty"
    return "on the list: " + ", ".join(home.shopping)


@tool(phrases=["(clear|empty) (the|my) shopping list"])
async def clear_list() -> str:
    """Empty the shopping list."""
    home.shopping.clear()
    return "the list is empty"


@tool(
    phrases=[
        "remember [that] (the|my) {thing} (is|are) (in|on) the {place}",
        "(the|my) {thing} (is|are) (in|on) the {place}",
    ]
)
async def remember(thing: Thing, place: Place) -> str:
    """Remember where a thing lies."""
    home.places[thing] = place
    return f"{_where(thing)} the {place}"


@tool(phrases=["where (is|are) (the|my) {thing}", "where did i (put|leave) (the|my) {thing}"])
async def where_is(thing: Thing) -> str:
    """Say where a thing lies."""
    place = home.places.get(thing)
    return f"{_where(thing)} the {place}" if place else f"i do not know where the {thing} {_be(thing)}"
