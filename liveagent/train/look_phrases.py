"""How people ask about a table of things, as data: phrases of `liveagent.phrase` by kind of question.

`PHRASES` are for training, `HELD_OUT` for watching it: their wordings appear nowhere in training. `{x}`, `{y}` are
things ("red ball", "ball", "red thing"), `{c}` a colour, `{n}` things in the plural, `{a}` a thing with its article,
`{b}` without, `{side}` left or right, `{ago}` one of `AGO_S`.
"""

from __future__ import annotations

AGO_S = {30: "half a minute ago", 60: "(a|one) minute ago", 120: "two minutes ago", 300: "five minutes ago",
         600: "ten minutes ago"}  # fmt: skip

PHRASES: dict[str, str] = {
    "colour": "(what|which) (color|colour) is the {x}|what is the (color|colour) of the {x}|what's the (color|colour) of the {x}"
    "|tell me the (color|colour) of the {x}|(what|which) (color|colour) does the {x} have|[the] (color|colour) of the {x}"
    "|the {x} is (what|which) (color|colour)|(can|could) you see what (color|colour) the {x} is"
    "|do you know (what|which) (color|colour) the {x} is|in (what|which) (color|colour) is the {x}|name the (color|colour) of the {x}"
    "|(what|which) (color|colour) {x} (is there|is on the table|do you see)|i want to know the (color|colour) of the {x}"
    "|(any idea|do you happen to know) (what|which) (color|colour) the {x} (is|has)"
    "|(i wonder|i am asking) (what|which) (color|colour) the {x} is|is the {x} red or blue or what"
    "|(what|which) (color|colour) do you (give|call|make) the {x}"
    "|(say|read|find|check|get) [me] the (color|colour) of the {x}"
    "|(what|which) (color|colour) has the {x} [got]|how would you describe the (color|colour) of the {x}"
    "|the {x} its (color|colour) [please]|look at the {x} (what|which) (color|colour) is it"
    "|there is a {x} (what|which) (color|colour) is it|of (what|which) (color|colour) is the {x}"
    "|(color|colour) of the {x} [please]|what (color|colour) {x} have we got"
    "|(can|could) you make out the (color|colour) of the {x}|how is the {x} (colored|painted)"
    "|(what|which) (color|colour) was the {x} painted|give me the (color|colour) of the {x}"
    "|the {x} comes in (what|which) (color|colour)",
    "shape": "what is the {x}|(what|which) shape is the {x}|(what|which) shape does the {x} have|what is the shape of the {x}"
    "|(tell me|say) what the {x} is|(can|could) you see what the {x} is|what kind of thing is the {x}|what's the {x}"
    "|do you know what the {x} is|the {x} is what|the {x} what is it|what (sort|kind) of shape is the {x}"
    "|which thing is {c}|what is {c} [on the table]|what do you see that is {c}|name the shape of the {x}"
    "|(any idea|do you happen to know) what the {x} is|(i wonder|i am asking) what the {x} is"
    "|is the {x} a ball or a cube or what|what do you call the {x}"
    "|(say|find|check|get) [me] the shape of the {x}|what form (has|is) the {x}|look at the {x} what is it"
    "|there is a {x} what is it|the shape of the {x} [please]|what shape has the {x} [got]"
    "|(can|could) you make out the shape of the {x}|what thing is {c}|what is the thing that is {c}"
    "|what (sort|kind) of thing is the {x}|what am i looking at that is {c}|of which shape is the {x}"
    "|give me the shape of the {x}|what might the {x} be",
    "count": "how many {n} are (there|on the table|here)|how many {n} (do|can) you see|how many {n} are there on the table"
    "|how many {n}|count the {n}|(can|could) you count the {n}|(tell me|say) how many {n} there are|what is the number of {n}"
    "|the number of {n} [please]|how many {n} (have we|have you) got|how many {n} does the table have"
    "|i want to know how many {n} there are|how many {n} are (lying|standing) (there|on the table)"
    "|(any idea|do you happen to know) how many {n} there are|(i wonder|i am asking) how many {n} there are"
    "|what number of {n} (is there|do you see|have we)|how many {n} can be (found|counted) [here]"
    "|(give|find|get) me the number of {n}|how many of the things are {n}|{n} how many [are there]"
    "|how many {n} lie on the table|(check|look) how many {n} there are|how many {n} (stand|lie|sit) here"
    "|how many {n} does it make|(can|could) you say how many {n} there are|number of {n}"
    "|there are how many {n}|let us count the {n}|how many {n} are left|how many {n} would that be"
    "|how many {n} right now|i see some {n} how many are there",
    "where": "where is the {x}|where (do|can) you see the {x}|where on the table is the {x}|(tell me|say) where the {x} is"
    "|on which side is the {x}|which side is the {x} on|where does the {x} (lie|stand)|(can|could) you see where the {x} is"
    "|do you (know|see) where the {x} is|what side is the {x} on|the {x} is where|in which part of the table is the {x}"
    "|is the {x} left middle or right|where's the {x}|in what place is the {x}"
    "|(any idea|do you happen to know) where the {x} is|(i wonder|i am asking) where the {x} is"
    "|is the {x} on the left or on the right|(show|find) [me] the {x}|(locate|find) the {x}"
    "|i am looking for the {x} where is it|where has the {x} been put|where did they put the {x}"
    "|the position of the {x} [please]|what is the position of the {x}"
    "|where (will|can|could|do) i find the {x} on the table|(check|look) where the {x} is"
    "|the {x} where is it|where is that {x}|where (sits|lies|stands) the {x}"
    "|where on the table do you see the {x}|which part of the table is the {x} (on|in)"
    "|where should i look for the {x}|how far left or right is the {x}|left middle or right the {x}",
    "exists": "is there {a} [on the table]|do you see {a}|can you see {a}|is {a} (on the table|there|here)|is there {a} there"
    "|is there [any] {b} on the table|have we got {a}|does the table have {a} [on it]|(tell me|say) if there is {a}"
    "|{a} is there one|i am looking for {a} is there one|(can|could) you find {a}|is there {a} to see|do we have {a}"
    "|is there a {b} anywhere|is one of the things {a}"
    "|(any|a) {b} (there|here|on the table)|(any idea|do you happen to know) if there is {a}"
    "|i am asking if there is {a}|is {a} to be (seen|found) [here|on the table]"
    "|(look|see) if there is {a} [there|on the table]|does there happen to be {a}|are we looking at {a}"
    "|there is {a} (right|yes or no|is there not|true)|have you got {a} [there|on the table]"
    "|is {a} among (the things|them|these)|(can|could) you (spot|make out|detect) {a}"
    "|do you (find|spot|notice) {a}|i think there is {a} is that so|did somebody put {a} (there|on the table)"
    "|do i have {a} on the table|is there {a} in (the picture|sight|view)|{a} yes or no"
    "|is there such a thing as {a} here",
    "list": "what is on the table|what (do|can) you see|what is there|what things are (there|on the table)|what do you see on the table"
    "|(tell me|say) what is on the table|(tell me|say) what you see|describe the table|describe what you see|what lies on the table"
    "|what have (we|you) got on the table|which things are on the table|name (the|all) things on the table|what is in front of you"
    "|what are you looking at|what's on the table|list (the|all) things [on the table]|name everything [on the table]"
    "|what can you see on the table|what is lying on the table|what (objects|things) do you see"
    "|(any idea|do you happen to know) what is on the table|(i wonder|i am asking) what is on the table"
    "|give me a list of the things|(enumerate|go through) the things on the table|what is it that you see"
    "|what do your eyes see|what is to be seen|(tell|give) me everything on the table|what is there to see"
    "|what does the table have on it|which objects are (there|here|on the table)|what stuff is on the table"
    "|look at the table what is there|what is in the picture|what is in view|say everything you see",
    "places": "what is where|where is everything|where are (the|all) things|where is what|describe where everything is"
    "|(tell me|say) where everything is|what lies where [on the table]|(tell me|say) what is where|where does everything (lie|stand)",
    "left": "what is [to the|on the] left of the {x}|what (do|can) you see [to the] left of the {x}|which thing is left of the {x}"
    "|what (lies|stands) [to the] left of the {x}|what is on the left side of the {x}|(tell me|say) what is left of the {x}"
    "|what is next to the {x} on the left|left of the {x} what is there|what's left of the {x}|is there something left of the {x}",
    "right": "what is [to the|on the] right of the {x}|what (do|can) you see [to the] right of the {x}|which thing is right of the {x}"
    "|what (lies|stands) [to the] right of the {x}|what is on the right side of the {x}|(tell me|say) what is right of the {x}"
    "|what is next to the {x} on the right|right of the {x} what is there|what's right of the {x}|is there something right of the {x}",
    "beside": "is the {x} [to the|on the] {side} of the {y}|do you see the {x} {side} of the {y}"
    "|(tell me|say) if the {x} is {side} of the {y}|does the {x} (lie|stand) {side} of the {y}|the {x} is {side} of the {y} right",
    "then_list": "what was on the table {ago}|what was there {ago}|what did you see {ago}|{ago} what was on the table"
    "|(tell me|say) what was on the table {ago}|do you (remember|know) what was on the table {ago}|what (lay|stood) on the table {ago}"
    "|what things were (there|on the table) {ago}|what could you see {ago}|what did the table look like {ago}"
    "|which things were on the table {ago}|what had we got on the table {ago}|what was here {ago}|{ago} what did you see"
    "|{ago} what was there|(any idea|do you happen to know) what was on the table {ago}"
    "|what had been on the table {ago}|what was to be seen {ago}|(list|name) the things of {ago}"
    "|(list|name|say) what was (there|on the table) {ago}|what objects were on the table {ago}"
    "|what were you looking at {ago}|what was in front of us {ago}|think back {ago} what was on the table"
    "|what was it that you saw {ago}|what did i have on the table {ago}"
    "|(give|tell) me the things that were there {ago}|describe the table [as it was] {ago}"
    "|how was the table {ago}|what did we have {ago}",
    "then_exists": "was there {a} [on the table] {ago}|did you see {a} {ago}|{ago} was there {a}|was {a} (on the table|there) {ago}"
    "|do you remember if there was {a} {ago}|could you see {a} {ago}|did we have {a} [on the table] {ago}|had you seen {a} {ago}"
    "|(check|say|tell me) if there was {a} [on the table] {ago}|was {a} to be seen {ago}"
    "|(any idea|do you happen to know) if there was {a} {ago}|had there been {a} {ago}"
    "|was there [any] {b} on the table {ago}|{ago} did you see {a}|did i have {a} {ago}"
    "|think back {ago} was there {a}|was one of the things {a} {ago}|can you remember {a} {ago}"
    "|did the table have {a} {ago}",
    "then_colour": "(what|which) (color|colour) was the {x} {ago}|what was the (color|colour) of the {x} {ago}"
    "|{ago} (what|which) (color|colour) was the {x}|(what|which) (color|colour) did the {x} have {ago}"
    "|do you remember the (color|colour) of the {x} {ago}"
    "|(any idea|do you happen to know) what (color|colour) the {x} was {ago}"
    "|of what (color|colour) was the {x} {ago}|the (color|colour) of the {x} {ago}"
    "|(say|tell me) (what|which) (color|colour) the {x} (was|had) {ago}"
    ""
    "|think back {ago} (what|which) (color|colour) was the {x}"
    "|what was the {x} like {ago} (what|which) (color|colour)|name the (color|colour) of the {x} {ago}"
    "|what (color|colour) {x} was there {ago}",
    "then_count": "how many {n} were (there|on the table) {ago}|{ago} how many {n} were (there|on the table)|how many {n} did you see {ago}"
    "|how many {n} did we have {ago}|how many {n} (lay|stood) on the table {ago}"
    "|(any idea|do you happen to know) how many {n} there were {ago}|the number of {n} {ago}"
    "|what was the number of {n} {ago}|(say|tell me) how many {n} there were {ago}"
    "|how many {n} had we got {ago}|{ago} how many {n} did you see"
    "|think back {ago} how many {n} were there|how many {n} stood there {ago}|there were how many {n} {ago}"
    "|{n} how many {ago}|how many {n} did the table have {ago}",
    "then_where": "where was the {x} {ago}|{ago} where was the {x}|where did you see the {x} {ago}|on which side was the {x} {ago}"
    "|where (lay|stood) the {x} {ago}|do you remember where the {x} was {ago}"
    "|(any idea|do you happen to know) where the {x} was {ago}|what was the position of the {x} {ago}"
    "|(say|tell me) where the {x} was {ago}|on what side was the {x} {ago}|where had the {x} been {ago}"
    "|the {x} {ago} where was it|think back {ago} where was the {x}|where on the table was the {x} {ago}"
    "|which side was the {x} on {ago}|{ago} on which side was the {x}"
    "|in which part of the table was the {x} {ago}|where did the {x} lie {ago}",
    "before": "what was on the table before [that]|what was (there|here) before|what did you see before|and before that"
    "|what was on the table (earlier|before it changed)|what did the table look like before",
    "moved": "what [has|was] [just] moved|which thing [has] [just] moved|(did|do) you see what moved|(tell me|say) what [just] moved"
    "|what did i [just] move|which one [has] moved [just now]|what moved just now|what thing was moved|what have i moved",
    "changed": "what [has] [just] changed|what is (new|different) [now]|what happened [just now]|what happened on the table"
    "|(did|has) anything change|(tell me|say) what [has] changed|what changed just now|what did i [just] (do|change)"
    "|do you see what changed|is anything (new|different)",
}  # fmt: skip

OPENINGS = (  # in front of any of them
    "please|hey|okay|well|now|and|look|can you tell me|please tell me|tell me|i want to know|hey nano|nano|just|then|also"
    "|one question|by the way|please say|quickly|can you say|do you know|i would like to know|let me know|and now|okay nano"
).split("|")

HELD_OUT: dict[str, str] = {
    "colour": "could you tell me the color of the {x}|what color would you say the {x} is|the {x} what color is it",
    "shape": "could you tell me what the {x} is|what would you call the {x}|what exactly is the {x}",
    "count": "could you tell me how many {n} there are|how many {n} are in front of you|so how many {n} do we have",
    "where": "could you tell me where the {x} is|where would i find the {x}|whereabouts is the {x}",
    "exists": "could you check if there is {a}|would you say there is {a}|by any chance is there {a}",
    "list": "could you tell me what is on the table|what all is on the table|so what do you see there",
    "places": "could you tell me where everything is|so where are all those things",
    "left": "could you tell me what is left of the {x}|what comes to the left of the {x}",
    "right": "could you tell me what is right of the {x}|what comes to the right of the {x}",
    "beside": "could you tell me if the {x} is {side} of the {y}|would you say the {x} is {side} of the {y}",
    "then_list": "could you tell me what was on the table {ago}|what all was there {ago}|so what was on the table {ago}",
    "then_exists": "could you tell me if there was {a} {ago}|would you say there was {a} {ago}",
    "then_colour": "could you tell me what color the {x} was {ago}|{ago} the {x} had what color",
    "then_count": "could you tell me how many {n} there were {ago}|so how many {n} were there {ago}",
    "then_where": "could you tell me where the {x} was {ago}|whereabouts was the {x} {ago}",
    "before": "could you tell me what was there before|so what was on the table before",
    "moved": "could you tell me what moved|so what did just move",
    "changed": "could you tell me what changed|so what is different now",
}
