"""Common English words, by kind: the material of training sentences that are not commands.

Written for this project. Their use is phonetic variety, so they need neither be exact nor complete.
"""

from __future__ import annotations

NOUNS = """
time year people way day man thing woman life child world school family student group country problem hand part place
case week company system program question work number night point home water room mother area money story fact month lot
right study book eye job word business issue side kind head house service friend father power hour game line end member
law car city community name president team minute idea kid body information back parent face others level office door
health person art war history party result change morning reason research girl guy moment air teacher force education
foot boy age policy music process video camera table chair window floor wall roof kitchen bedroom bathroom garden garage
hallway street road bridge river lake sea ocean beach mountain hill forest tree flower grass leaf plant seed fruit apple
orange banana lemon grape cherry peach pear melon berry tomato potato onion carrot pepper garlic bean pea corn rice
bread butter cheese milk cream egg meat chicken beef pork fish salt sugar honey soup salad sandwich pizza pasta noodle
cake cookie candy chocolate coffee tea juice beer wine glass cup plate bowl fork knife spoon pan pot oven stove fridge
freezer toaster kettle sink tap towel soap brush comb mirror shower bath toilet bed pillow blanket sheet lamp light
switch plug socket cable wire battery charger phone laptop computer keyboard mouse screen printer speaker microphone
radio television remote button fan heater cooler thermostat vacuum washer dryer dishwasher iron basket bucket broom mop
trash garbage bag box bottle can jar lid drawer shelf cabinet closet hanger shirt pants dress skirt coat jacket hat cap
scarf glove sock shoe boot belt ring watch necklace wallet purse keys umbrella glasses pen pencil paper notebook letter
envelope stamp package gift card ticket passport map calendar clock alarm timer bell whistle drum guitar piano violin
song dance movie film show picture photo paint color shape circle square triangle line star heart cube ball cylinder
cone robot arm gripper finger wheel motor engine train bus truck bike boat ship plane airport station hotel restaurant
shop store market bank hospital doctor nurse dentist medicine pill pain fever cold cough headache lawyer judge police
officer soldier farmer driver pilot cook waiter artist writer singer actor king queen prince princess dog cat bird horse
cow pig sheep goat duck mouse rabbit lion tiger bear monkey elephant snake frog bee spider weather rain snow wind storm
cloud sun moon sky thunder fog ice fire smoke stone rock sand metal wood plastic cotton leather gold silver iron steel
summer winter spring autumn monday tuesday wednesday thursday friday saturday sunday january february march april may
june july august september october november december breakfast lunch dinner supper snack meal recipe dish kitchen
neighbor brother sister uncle aunt cousin grandma grandpa husband wife son daughter baby birthday wedding holiday
vacation trip journey visit meeting message email call answer question note list news weather report volume channel
station temperature degree humidity pressure speed distance height weight length width size price cost bill tax account
password document file folder page chapter sentence language english french german spanish lesson exam test grade class
science math physics chemistry biology experiment machine tool hammer nail screw drill saw ladder rope chain lock key
fence gate yard pool balcony ceiling basement attic stairs elevator corner edge middle center top bottom front left
position direction north south east west level battery sensor signal network internet website thought voice sound noise
silence peace joy love fear anger hope dream truth secret joke trick mistake accident danger safety rule choice chance
""".split()

VERBS = """
be have do say get make go know take see come think look want give use find tell ask work seem feel try leave call keep
let begin help talk turn start show hear play run move like live believe hold bring happen write provide sit stand lose
pay meet include continue set learn change lead understand watch follow stop create speak read allow add spend grow open
walk win offer remember love consider appear buy wait serve die send expect build stay fall cut reach kill remain suggest
raise pass sell require report decide pull push lift drop place put pick grab throw catch carry drive ride fly swim jump
climb dance sing shout whisper laugh cry smile eat drink cook bake boil fry mix stir pour wash clean wipe sweep dry fold
iron sew fix repair break close lock unlock switch dim brighten mute pause resume skip repeat record save delete copy
paste print search charge connect plug check test measure count draw paint choose join share teach study travel visit
sleep wake dream rest relax breathe hide seek search explore discover invent design plan prepare order cancel schedule
remind forget forgive promise agree refuse argue fight protect attack save borrow lend return finish complete freeze
""".split()

ADJECTIVES = """
good new first last long great little own other old right big high different small large next early young important few
public bad same able best better sure clear full free hot cold warm cool dry wet clean dirty easy hard heavy light dark
bright soft loud quiet quick slow fast strong weak rich poor happy sad angry tired hungry thirsty sick healthy busy ready
late empty open closed wide narrow deep shallow thick thin round flat sharp smooth rough sweet sour bitter salty fresh
strange funny serious simple special beautiful ugly pretty nice kind cruel brave smart clever stupid lazy careful polite
rude safe dangerous expensive cheap real fake true false wrong correct exact possible whole broken red green blue yellow
orange purple black white pink brown gray silver golden wooden upper lower inner outer huge tiny electric automatic
""".split()

ADVERBS = """
now then here there today tomorrow yesterday always never often sometimes usually maybe perhaps really very too quite
almost only just also again already still yet soon later early together alone slowly quickly quietly loudly carefully
easily outside inside upstairs downstairs everywhere somewhere nowhere tonight forever actually probably certainly
""".split()

SMALL = """
the a an and or but if because so that this these those it he she we they you i me him her us them my your his its our
their mine yours who what which when where why how some any every each no none both all many much more most less few in
on at to from by with about against between into through during before after above below over under off out up down near
of for as until while than not please thanks yes okay well oh hey am is are was were been being has had does did can
could will would should might must shall don't can't won't isn't it's i'm you're we're they're i'll let's that's what's
""".split()

NAMES = """
james mary john linda robert susan michael karen david nancy william lisa richard betty thomas helen mark sandra paul
donna george ruth kevin sharon brian michelle edward laura anna peter alice jack emily harry olivia jacob sophia daniel
emma lucas mia oliver charlotte henry amelia leo grace samuel chloe adam zoe london paris berlin rome madrid boston
chicago tokyo texas canada england france germany spain italy japan china india brazil africa europe america australia
""".split()
