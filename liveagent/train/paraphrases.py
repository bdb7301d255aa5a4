"""What people say, as data: other ways to call the shipped tools, small talk, questions nano cannot answer.

`PARAPHRASES` are for training, `HELD_OUT` for `typed_tool_exact` alone: their wordings appear nowhere in training.
A line is a phrase in the syntax of `liveagent.phrase`; a prefix `name=value:` fixes an argument that the words imply.
"""

from __future__ import annotations

PARAPHRASES: dict[str, list[str]] = {
    "light": [
        "put the {room} (light|lights) {state}",
        "(flip|put) {state} the {room} (light|lights)",
        "turn {state} the lights in [the] {room}",
        "the (light|lights) in the {room} {state}",
        "lights {state} in the {room}",
        "i want the {room} (light|lights) {state}",
        "i need the (light|lights) {state} in the {room}",
        "make sure the {room} (light|lights) (is|are) {state}",
        "get the {room} (light|lights) {state}",
        "in the {room} turn {state} the (light|lights)",
        "in the {room} turn the (light|lights) {state}",
        "set the {room} (light|lights) to {state}",
        "set the lights in the {room} to {state}",
        "i would like the {room} (light|lights) {state}",
        "(let's|let us) have the {room} (light|lights) {state}",
        "power {state} the {room} (lamp|lamps|light)",
        "(turn|switch) {state} the (lamp|lamps) in the {room}",
        "(turn|switch) the {room} lamp {state}",
        "state=off: shut off the {room} (light|lights)",
        "state=off: shut the {room} (light|lights) off",
        "state=off: shut off the (light|lights) in the {room}",
        "state=off: cut the {room} (light|lights)",
        "state=off: make it dark in the {room}",
        "state=off: i do not need light in the {room} (anymore|any more)",
        "state=off: no more light in the {room}",
        "state=off: (put|turn) out the {room} (light|lights)",
        "state=off: it is too bright in the {room}",
        "state=on: light up the {room}",
        "state=on: i need [some|more] light in the {room}",
        "state=on: give me [some] light in the {room}",
        "state=on: it is (too|so) dark in the {room}",
        "state=on: (make|brighten) the {room} [bright]",
        "state=on: illuminate the {room}",
    ],
    "dim": [
        "(turn|put|bring|take) the {room} (light|lights) to {percent} percent",
        "(turn|bring) the {room} (light|lights) (down|up) to {percent} percent",
        "(dim|set) the (light|lights) in the {room} to {percent} percent",
        "{room} (light|lights) [to|at] {percent} percent",
        "{percent} percent (light|brightness) in the {room}",
        "(set|put|change) the brightness (in|of) the {room} to {percent} [percent]",
        "make the {room} (light|lights) {percent} percent [bright]",
        "i want the {room} (light|lights) at {percent} percent",
        "in the {room} set the (light|lights) to {percent} [percent]",
        "set {room} brightness to {percent} [percent]",
        "dim the {room} to {percent} [percent]",
        "(lower|raise) the {room} (light|lights) to {percent} percent",
    ],
    "timer": [
        "(set|start|give me|make|create|i need|i want|put on) (a|the) timer for {minutes} (minute|minutes)",
        "(set|start|give me|make|i need|i want) a {minutes} minute timer",
        "timer for {minutes} (minute|minutes)",
        "{minutes} (minute|minutes) timer [please]",
        "timer {minutes} (minute|minutes)",
        "set the timer to {minutes} (minute|minutes)",
        "start the timer for {minutes} (minute|minutes)",
        "count down {minutes} (minute|minutes)",
        "start counting {minutes} (minute|minutes)",
        "(tell|call|wake|alert) me in {minutes} (minute|minutes)",
        "let me know (in|after|when) {minutes} (minute|minutes) [are over]",
        "time {minutes} (minute|minutes) [for me]",
        "remind me in {minutes} (minute|minutes)",
        "i need {minutes} (minute|minutes) on the timer",
        "put {minutes} (minute|minutes) on the (timer|clock)",
    ],
    "cancel_timer": [
        "(stop|cancel|end|delete|remove|kill|clear|turn off|switch off|forget) (the|my|that|this) timer",
        "turn the timer off",
        "(i do not|i don't) need the timer [anymore|any more]",
        "no more timer",
        "never mind the timer",
        "get rid of the timer",
        "timer off",
        "stop counting [down]",
        "the timer is not needed",
    ],
    "add_item": [
        "(add|put|write|get) {item} (to|on|onto|down on) (the|my|our) [shopping] list",
        "(we|i) (need|want) {item}",
        "(we|i) (need|have) to buy [some|more] {item}",
        "buy [some|more] {item}",
        "(add|put) [some|more] {item} (to|on) (the|my) [shopping] list",
        "(we are|i am|we're|i'm) out of {item}",
        "(we|i) (ran|have run) out of {item}",
        "there is no {item} left",
        "{item} (on|to) (the|my) [shopping] list",
        "i should (buy|get) [some] {item}",
        "(also|and) (add|put) {item} (to|on) the list",
        "shopping list add {item}",
        "add {item}",
        "do not let me forget [to buy] {item}",
        "(note|note down|write down) {item} for shopping",
        "get {item} (at|from) the (store|shop)",
    ],
    "read_list": [
        "(read|tell|show|give|say) [me|us] (the|my|our) [shopping] list",
        "what is on (the|my|our) list",
        "what's on (the|my|our) [shopping] list",
        "what do (i|we) (need|have|want) to (buy|get)",
        "what (should|must) (i|we) buy",
        "which things are on (the|my) [shopping] list",
        "(read|list|tell me) the shopping items",
        "tell me what is on the [shopping] list",
        "what have (i|we) got on the [shopping] list",
        "is there anything on (the|my) [shopping] list",
        "read out (the|my) [shopping] list",
        "what items do i have on my list",
    ],
    "clear_list": [
        "(clear|empty|delete|erase|wipe|reset|remove) (the|my|our) [shopping|whole] list",
        "(delete|remove|take|clear) everything (from|off|on) (the|my) [shopping] list",
        "start a new [shopping] list",
        "i have bought everything",
        "(throw|take) away the [shopping] list",
        "make (the|my) [shopping] list empty",
        "i am done shopping",
        "forget (the|my) shopping list",
    ],
    "remember": [
        "(remember|note|keep in mind|do not forget|save|memorize) [that] (the|my) {thing} (is|are) (in|on|at|by) [the] {place}",
        "i (put|left|placed|have put|have left|dropped) (the|my) {thing} (in|on|at) the {place}",
        "(the|my) {thing} (is|are|lies|lie) (in|on|at) (the|my) {place}",
        "i am (putting|leaving) (the|my) {thing} (in|on) the {place}",
        "{thing} (is|are) (in|on) the {place}",
        "i keep (the|my) {thing} (in|on) the {place}",
        "my {thing} (stay|stays|go|goes) (in|on) the {place}",
        "you should know [that] (the|my) {thing} (is|are) (in|on) the {place}",
        "(in|on) the {place} (is|are) (the|my) {thing}",
    ],
    "where_is": [
        "where (is|are) (the|my|our) {thing} [now]",
        "where did i (put|leave|lay|place|drop) (the|my) {thing}",
        "(find|look for|search for|locate) (the|my) {thing}",
        "do you (know|remember) where (the|my) {thing} (is|are)",
        "tell me where (the|my) {thing} (is|are)",
        "(i can't|i cannot) find (the|my) {thing}",
        "have you seen (the|my) {thing}",
        "i (lost|am looking for|need|have lost|am searching) (the|my) {thing}",
        "what did i do with (the|my) {thing}",
        "where (can|could|do) i find (the|my) {thing}",
        "where have i (put|left) (the|my) {thing}",
        "in which place (is|are) (the|my) {thing}",
    ],
    "pick": [
        "(pick up|grab|take|lift|get|grip|hold|fetch|collect|seize) (the|that|this|a) {color} {shape}",
        "(pick|lift|take) (the|that) {color} {shape} up",
        "get hold of the {color} {shape}",
        "i want [you to hold] the {color} {shape}",
        "(give|bring|hand) me the {color} {shape}",
        "take the {shape} that is {color}",
        "(pick up|grab|take) the {color} colored {shape}",
        "the {color} {shape} (pick it up|take it|grab it)",
        "can you (reach|lift) the {color} {shape}",
        "grab hold of the {color} {shape}",
    ],
    "place": [
        "(put|place|set|lay|drop|leave) it (on|in|at|to|onto) the {spot}",
        "(put|place|set|lay|drop) it down (on|in|at) the {spot}",
        "(put|place|set) (that|this|the thing|the object) (on|in|at) the {spot}",
        "drop it (on|at) the {spot}",
        "now put it (on|in) the {spot}",
        "and (put|place|set) it (on|in) the {spot}",
        "(bring|move|carry|take) it to the {spot}",
        "it (goes|belongs) (on|in|to) the {spot}",
        "(release|let go of) it (on|at|in) the {spot}",
        "i want it (on|in) the {spot}",
        "to the {spot} with it",
    ],
    "move": [
        "(move|go|drive|travel|slide|shift) {distance} centimeters [to the] {direction}",
        "(move|go|drive|slide|shift) [to the] {direction} (by|for) {distance} centimeters",
        "(move|go) {direction} {distance}",
        "{distance} centimeters [to the] {direction}",
        "{direction} {distance} centimeters",
        "(move|shift|bring|take) (the|your) (hand|arm) {direction} [by] {distance} centimeters",
        "(move|take) (the|your) (hand|arm) {distance} centimeters {direction}",
        "a bit {direction} {distance} centimeters",
        "go {distance} {direction}",
        "move yourself {distance} centimeters {direction}",
        "i want you to go {direction} {distance} centimeters",
    ],
    "gripper": [
        "{action} (your|the) (gripper|hand|fingers|claw)",
        "{action} it",
        "gripper {action}",
        "hand {action}",
        "please {action} up the (gripper|hand)",
        "make the (gripper|hand) {action}",
        "let the (gripper|hand) {action}",
        "action=open: let go",
        "action=open: release [it|the object]",
        "action=open: loosen your grip",
        "action=open: spread your fingers",
        "action=close: (squeeze|grip) [it|the object]",
        "action=close: hold [on|it] tight",
        "action=close: make a fist",
        "action=close: shut (the|your) (gripper|hand)",
    ],
    "go_home": [
        "go [back] home [now]",
        "(return|come|go|drive|move) [back] (home|to [the|your] home position)",
        "(return|come|go|move) back to [the|your] (start|home|beginning)",
        "(return|go|move) to the (start|beginning|home) [position]",
        "home position",
        "go to your (home|start|first|resting) position",
        "move home",
        "(bring|take) the arm [back] home",
        "back to the start",
        "reset your position",
    ],
    "stop": [
        "stop [it|that|now|moving|right now|at once|there]",
        "(halt|freeze|hold it|do not move|don't move) [now|there]",
        "(hold|stand|stay) still",
        "stay where you are",
        "stop (the|your) (arm|hand|robot|movement)",
        "emergency stop",
        "stop stop [stop]",
        "stop everything",
    ],
}

HELD_OUT: dict[str, list[str]] = {
    "light": [
        "state=off: could you kill the lights in the {room}",
        "have the lights in the {room} {state}",
        "do me a favor and switch the {room} lamp {state} again",
        "can you please get the lights {state} in the {room}",
        "the {room} needs its lights {state}",
        "i'd like you to turn the lights {state} in the {room}",
    ],
    "dim": [
        "the {room} should be at {percent} percent",
        "adjust the {room} lights to {percent} percent",
        "could you take the brightness of the {room} to {percent} percent",
        "i'd like {percent} percent light in the {room}",
    ],
    "timer": [
        "i'd like a timer of {minutes} minutes",
        "could you run a timer for {minutes} minutes",
        "wake me up in {minutes} minutes please",
        "let a timer run for {minutes} minutes",
        "would you set up a {minutes} minute timer for me",
    ],
    "cancel_timer": ["could you drop the timer", "please make the timer stop", "abort my timer"],
    "add_item": [
        "i'd like {item} on my shopping list",
        "could you note that we need {item}",
        "our {item} is all gone so put it on the list",
        "shopping list needs {item}",
        "make sure we buy {item}",
    ],
    "read_list": [
        "could you go through my shopping list",
        "i'd like to hear the shopping list",
        "do i have anything on the shopping list",
        "what else is on my list",
    ],
    "clear_list": ["could you wipe everything off my shopping list", "drop the whole shopping list", "scratch my list"],
    "remember": [
        "just so you know my {thing} is on the {place}",
        "i have just put my {thing} in the {place}",
        "could you remember my {thing} is in the {place}",
        "you can find my {thing} in the {place}",
    ],
    "where_is": [
        "any idea where my {thing} went",
        "could you tell me where i put my {thing}",
        "what happened to my {thing}",
        "i'd like to know where my {thing} is",
    ],
    "pick": [
        "i'd like you to take the {color} {shape}",
        "could you get me the {color} {shape}",
        "go and grab the {color} {shape} for me",
        "reach out and pick up the {color} {shape}",
    ],
    "place": [
        "could you set that down on the {spot}",
        "i'd like it on the {spot}",
        "leave that thing on the {spot}",
        "please bring it over to the {spot}",
    ],
    "move": [
        "could you move {distance} centimeters further {direction}",
        "i'd like you to move {direction} by {distance} centimeters",
        "make a move of {distance} centimeters {direction}",
    ],
    "gripper": ["could you {action} your gripper for me", "i'd like the hand to {action}", "now {action} that gripper"],
    "go_home": ["could you drive back home", "please return to where you started", "time to go home"],
    "stop": ["please stop moving at once", "would you stop right there", "stop what you are doing"],
}

MISSING: dict[str, list[tuple[str, str, str]]] = {
    # words, the argument that is missing, what to answer
    "light": [
        ("(turn|switch) on the (light|lights)", "room", "Which room?"),
        ("(turn|switch) the (light|lights) off", "room", "Which room?"),
        ("lights off", "room", "Which room?"),
    ],
    "dim": [("dim the {room} (light|lights)", "percent", "How much percent?")],
    "timer": [("(set|start) a timer", "minutes", "How many minutes?"), ("i need a timer", "minutes", "How many minutes?")],
    "add_item": [
        ("add something to (the|my) [shopping] list", "item", "Which item?"),
        ("put something on the list", "item", "Which item?"),
    ],
    "place": [("put it down", "spot", "Which spot?"), ("place it somewhere", "spot", "Which spot?")],
    "move": [("move {direction}", "distance", "Which distance?"), ("go {direction}", "distance", "Which distance?")],
}

BEFORE = (
    "please|can you|could you|would you|will you|can you please|could you please|i want you to|i need you to|hey|okay"
    "|now|okay now|and now|and|so|well|hey nano|nano|okay nano|would you please|go ahead and|just|then|next|also|um|uh"
).split("|")
AFTER = "please|now|for me|thanks|thank you|right now|if you can|would you|quickly|again|nano|okay|this time|then".split("|")

TALK: list[tuple[str, str]] = [
    # phrasings, reply
    ("(hello|hi|hey|hi there|hello there|hey there) [nano]", "Hello. How can I help?"),
    ("how (are you|is it going|do you do) [today]|how are you doing|are you (okay|well)", "I'm fine, thank you."),
    ("what is your name|who are you|what are you called|do you have a name|tell me your name|what's your name", "I'm Nano."),
    (
        "what can you do [for me]|how can you help me|what are you good at|help|help me|i need help|can you help me"
        "|what are your skills|what do you know",
        "Ask me to use one of my tools.",
    ),
    ("(thank you|thanks) [very much|a lot|so much]|that was helpful|i appreciate it", "You're welcome."),
    ("good morning [nano]", "Good morning."),
    ("good night [nano]|sleep well|i am going to bed", "Good night."),
    ("good evening [nano]|good afternoon", "Good day to you."),
    ("(goodbye|bye|bye bye|see you [later|tomorrow|soon]|farewell) [nano]|i have to go", "Goodbye."),
    (
        "tell me a joke|(say|tell me) something funny|do you know a joke|make me laugh|another joke",
        "A byte walks into a bar. It had a bit too much.",
    ),
    ("are you (a robot|a machine|a computer|human|a person|real|alive)|are you an (a i|android)", "I'm a small program."),
    ("can you hear me|do you hear me|are you (there|listening)|is anybody (there|home)|hello can you hear me", "I can hear you."),
    ("can you see me|do you see me|what do you see|can you see", "I can't see yet."),
    ("who (made|built|created|programmed) you|where do you come from|who is your (maker|creator)", "People who write free software."),
    ("how old are you|when were you (born|made)|what is your age|when is your birthday", "I'm quite new."),
    ("where (are you|do you live)|where is your home", "I live in this machine."),
    ("do you understand [me|english]|did you (get|understand) that|do you speak english", "I understand simple requests."),
    ("nice to meet you|pleased to meet you|good to see you", "Nice to meet you too."),
    ("(i am|i'm) (sorry|so sorry)|sorry|excuse me|my mistake|pardon me", "No problem."),
    ("(well done|very good|good job|great|perfect|excellent|wonderful|nice work|good work|nice)", "Thank you."),
    ("(i love you|i like you|you are (funny|great|nice|smart|sweet|cute))", "That's kind of you."),
    ("(you are|you're) (stupid|bad|wrong|useless|dumb|annoying|slow)|that is wrong|that was wrong|i hate you", "I'm sorry. I try my best."),
    ("(i am|i'm) (tired|sad|hungry|bored|lonely|sick|angry|not well)", "I'm sorry to hear that."),
    ("(i am|i'm) (happy|fine|good|okay|great|back|home|ready|well)", "Good to hear."),
    ("(yes|yeah|yes please|sure|okay|of course|right|that's right|exactly|alright)", "Okay."),
    ("(no|nope|no thank you|no thanks|not now|never mind|forget it|cancel that|that is all|nothing)", "All right."),
    ("(do|can) you (sing|dance)|sing [me] a song|dance for me", "I'd rather not."),
    ("do you (like|love) (me|music|people|your job|me too)|what do you like", "I like being useful."),
    ("(wait|hold on|one moment|just a moment|wait a minute|wait a second|give me a second)", "I'll wait."),
    ("(be quiet|shut up|silence|stop talking|quiet please|hush)", "Okay."),
    ("(what are you doing|what are you up to|are you busy)", "I'm listening."),
    ("(do you|can you) (sleep|eat|dream|feel|think|learn)|are you (hungry|tired|happy|sad)", "Not the way you do."),
    ("happy (birthday|new year)|merry christmas", "The same to you."),
    ("(let me think|hmm|well|um|uh|let me see|i don't know|i do not know|i am not sure)", "Take your time."),
    ("tell me a story|tell me something|say something|talk to me|speak to me", "I'm better at short answers."),
    ("are you (ready|awake|on)|can we start|let's (go|start|begin)", "I'm ready."),
    ("my name is {name}|i am {name}|i'm {name}|call me {name}", "Nice to meet you."),
    ("(welcome|welcome back|welcome home)", "Thank you."),
    ("how (smart|big|fast|clever) are you|are you (smart|big|fast|clever)", "I'm small, but I try."),
    ("(do|will) you remember me|do you know (me|who i am)|remember me", "I only know what you tell me."),
    ("test|testing|testing testing|this is a test|one two three|mic test|microphone test", "I hear you."),
    ("what is the meaning of life", "To be of use."),
]

AGAIN = (
    "(say|repeat) (that|it) [again] [please]|repeat|repeat please|what did you say|say again|pardon"
    "|i (didn't|did not) (hear|catch|get|understand) (that|you)|(one more time|once more|again) please"
    "|come again|what was that|can you repeat that|could you say that again|sorry what"
)

UNKNOWN = (
    # what nobody here can answer or do
    "what is the weather [like] [today|tomorrow]|how is the weather|is it (raining|snowing|cold outside)|will it rain tomorrow"
    "|who is the (president|king|queen|boss) of {name}|what is the capital of {name}|how far is {name} [from here]"
    "|how (tall|old|big|heavy|long|deep) is (the|a) {noun}|what is {number} (plus|minus|times) {number}"
    "|what is the square root of {number}|tell me about (the|a) {noun}|tell me about {name}|what is a {noun}"
    "|who invented the {noun}|who (wrote|painted|found|built) the {noun}|why is the {noun} {adjective}"
    "|how do i {verb} (a|the) {noun}|how does a {noun} {verb}|can you explain the {noun} to me|what does {noun} mean"
    "|translate {noun} (to|into) french|how do you say {noun} in german|spell {noun}|what is the price of (the|a) {noun}"
    "|book (a|the) {noun} for {number}|order (a|some|the) {adjective} {noun}|order [me] a {noun}|buy me a {adjective} {noun}"
    "|send an email to {name}|call {name} [for me]|write a letter to {name}|read [me] the {noun}|open the {noun}"
    "|close the {noun}|start the {noun} [program]|{verb} the {adjective} {noun}|can you {verb} the {noun} for me"
    "|what time is it|what day is it [today]|what is the date [today]|what is the news|who won the {noun}"
    "|play some music|play the {noun} song|show me a picture of a {noun}|search for {noun} on the internet"
    "|when does the {noun} {verb}|where can i buy a {noun}|which {noun} is {adjective}|should i {verb} the {noun}"
    "|do you think the {noun} is {adjective}|what do you think (of|about) the {noun}|recommend a {noun}"
    "|make me a {noun}|cook (a|the) {noun}|drive me to the {noun}|bring the {noun} to {name}|paint the {noun} {adjective}"
)

UNKNOWN_HELD_OUT = (
    "how many {noun}s are in a {noun}|whose {noun} is this|convert {number} {noun}s to {noun}s|is the {noun} better than the {noun}"
    "|what is the name of the {noun}|give me a recipe for {noun}|would a {noun} {verb}|name a {adjective} {noun}"
    "|how much does the {noun} cost|who was {name}|when was {name} born|sell my {noun}"
)

CHATTER = (
    # speech that is not meant for the agent
    "{name} said that the {noun} is {adjective}|i think {name} will {verb}|they {verb} the {noun} every day|and then the {noun}"
    "|we should {verb} the {noun}|my {noun} has a {adjective} {noun}|it was a {adjective} {noun}|because the {noun} was {adjective}"
    "|{name} and {name} {verb} together|the {noun} of the {noun}|of the {noun} and the|you know what i mean|and so on"
    "|he did not {verb} the {noun}|she has {number} {noun}s|i was at the {noun} with {name}|there were {number} {adjective} {noun}s"
    "|{noun} and {noun}|the {adjective} one|a {noun} is a {noun}|but {name} could not {verb}|i told {name} to {verb}"
    "|the {noun} is very {adjective}|{adjective} {noun}|if the {noun} could {verb}|did {name} {verb} the {noun}"
    "|it {verb}s a {noun} in the {noun}|not the {noun} but the {noun}|last {noun} we {verb} a {noun}"
)
