"""Wordings of the shipped tools that only measure: `typed_tool_exact` is about these.

They were written after the wordings that nano is trained on, without looking at those; what turned out to be the same
as one of them was taken out. A prefix `name=value:` fixes an argument that the words imply. Nothing of this may ever
enter training: `tests/test_wordings.py` holds the two apart.
"""

from __future__ import annotations

WORDINGS: dict[str, list[str]] = {
    "light": [
        "can you turn the {room} (light|lights) {state} for me",
        "would you mind switching {state} the {room} (light|lights)",
        "hey could we get the (light|lights) {state} in the {room}",
        "i want you to switch the (light|lights) in the {room} {state}",
        "go ahead and turn {state} the light in the {room}",
        "state=off: i am done in the {room} so turn the lights off",
        "state=off: the {room} (light does|lights do) not need to be on",
        "state=on: it is too dark in the {room} can you turn a light on",
    ],
    "dim": [
        "can you change the {room} (light|lights) to {percent} percent",
        "i want the light in the {room} at {percent} percent",
        "brightness in the {room} to {percent} percent please",
        "could you put the lights in the {room} at {percent} percent brightness",
        "{percent} percent light in the {room} please",
        "percent=50: turn the {room} (light|lights) down to half",
        "percent=100: turn the {room} (light|lights) all the way up",
    ],
    "timer": [
        "can you time {minutes} (minute|minutes) for me",
        "let me know when {minutes} (minute|minutes) (is|are) up",
        "give me {minutes} (minute|minutes) on the timer",
        "could you start a timer that goes off in {minutes} (minute|minutes)",
        "timer {minutes} (minute|minutes) please",
        "tell me when {minutes} (minute|minutes) have gone by",
    ],
    "cancel_timer": [
        "i do not need that timer anymore",
        "can you turn off the timer",
        "please get rid of the timer i set",
        "could you cancel that timer for me",
        "you can stop timing now",
    ],
    "add_item": [
        "can you add {item} to the groceries",
        "i have to buy {item} next time i am at the store",
        "make a note that we need {item}",
        "could you put {item} down for the next shopping trip",
        "{item} should go on the shopping list",
        "we need to pick up some {item} from the store",
        "write down {item} on my list",
    ],
    "read_list": [
        "what do we need from the store",
        "can you tell me what is on the list",
        "what do i have on my shopping list so far",
        "go through the shopping list with me",
        "what all do i have to buy",
        "what groceries do i need to get",
    ],
    "clear_list": [
        "can you wipe the shopping list",
        "i already bought everything so clear the list",
        "start the shopping list over",
        "please get rid of everything on the list",
        "i am done shopping you can erase the list",
        "remove all the items from my shopping list",
    ],
    "remember": [
        "place=drawer: i just put my {thing} in the drawer",
        "place=table: can you remember i left the {thing} on the table",
        "place=car: just so you know my {thing} (is|are) out in the car",
        "place=shelf: i am leaving my {thing} on the shelf",
        "place=desk: if i ask later my {thing} (is|are) on the desk",
        "place=bag: make a note that the {thing} went in the bag",
        "place=office: do not let me forget i left my {thing} in the office",
        "place=kitchen: i set the {thing} down in the kitchen",
    ],
    "where_is": [
        "i can not find my {thing}",
        "can you help me find the {thing}",
        "tell me where i put the {thing}",
        "any idea where i left my {thing}",
    ],
    "pick": [
        "can you get the {color} {shape}",
        "i want you to pick up the {color} {shape}",
        "go get the {color} {shape} for me",
        "could you grab that {color} {shape}",
        "lift up the {color} {shape}",
        "get a hold of the {color} {shape}",
        "now pick the {color} {shape}",
        "the {color} {shape} please pick it up",
    ],
    "place": [
        "can you set it on the {spot}",
        "set that down on the {spot}",
        "now leave it on the {spot}",
        "on the {spot} is where i want you to put it",
        "spot=middle: drop it right in the middle",
        "spot=table: could you put that back on the table",
    ],
    "move": [
        "can you move {distance} centimeters {direction}",
        "i need you to go {direction} {distance} centimeters",
        "go {direction} another {distance} centimeters",
        "{direction} {distance} centimeters please",
        "direction=up: raise the arm {distance} centimeters",
        "direction=down: lower your hand by {distance} centimeters",
    ],
    "gripper": [
        "{action} your gripper please",
        "i need the gripper to {action}",
        "now {action} the claw",
        "go ahead and {action} the gripper for me",
        "action=open: let go of it",
        "action=close: squeeze the gripper shut",
    ],
    "go_home": [
        "can you go back to where you started",
        "go back home please",
        "move the arm back to its starting position",
        "head back to the beginning",
        "i want you back at the starting point",
        "you are done go back to your home spot",
    ],
    "stop": [
        "stop right there",
        "stop moving please",
        "wait stop",
        "quit moving",
    ],
}

LOOK_WORDINGS: dict[str, str] = {
    # what nano is asked about pictures, by kind of question (liveagent/train/look_phrases.py has those of training)
    "colour": "what color do you think the {x} is|the {x} has what color|what would you say is the color of the {x}"
    "|i can not tell what color the {x} is can you|which color would you give the {x}",
    "shape": "what would you say the {x} is|the {x} over there what is it|what is that {x} there|what do you think the {x} is"
    "|what does the {x} look like",
    "count": "how many {n} would you count|what is your count of {n}|how many {n} lie there|how many {n} can be seen"
    "|in total how many {n} are there",
    "where": "where can the {x} be seen|to which side is the {x}|whereabouts on the table is the {x}|can you point out the {x}"
    "|where would you say the {x} is",
    "exists": "can {a} be seen|is {a} somewhere on the table|i wonder if there is {a}|would you check if there is {a}"
    "|is there {a} or not",
    "list": "what things can you see there|can you list what is there|which things can be seen|what does the table hold"
    "|what have you got in front of you",
    "left": "which thing do you see left of the {x}|what would be left of the {x}|what is there to the left of the {x}",
    "right": "which thing do you see right of the {x}|what would be right of the {x}|what is there to the right of the {x}",
    "then_list": "what things did you see {ago}|what had the table on it {ago}|what could be seen {ago}",
    "then_exists": "could {a} be seen {ago}|was {a} somewhere on the table {ago}|had we got {a} {ago}",
    "then_colour": "what color had the {x} {ago}|the {x} {ago} what color was it",
    "then_count": "how many {n} could you see {ago}|how many {n} could be seen {ago}",
    "then_where": "where could the {x} be seen {ago}|to which side was the {x} {ago}",
}
