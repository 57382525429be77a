"""Word lists of the built-in story grammar: every entry that belongs together stands in one tuple.

A tuple ties a cause to its effect, so that what is chosen early in a story fixes words that come late.
"""

from __future__ import annotations

GIRLS = (
    "Mira", "Tilda", "Suri", "Wanda", "Nell", "Poppy", "Zora", "Hattie", "Lena", "Juno",
    "Ines", "Bela", "Fern", "Dora", "Kiki", "Yara", "Marit", "Olive", "Runa", "Pia",
)  # fmt: skip
BOYS = (
    "Otto", "Benji", "Karim", "Milo", "Jasper", "Tomas", "Hugo", "Nico", "Rafi", "Ivo",
    "Emil", "Casper", "Dario", "Felix", "Anton", "Sunil", "Bo", "Levi", "Pablo", "Arlo",
)  # fmt: skip
KINDS = ("girl", "boy")
CREATURES = ("rabbit", "mouse", "bear", "fox", "squirrel", "badger", "beaver", "hedgehog", "raccoon", "mole")
ADJECTIVES = ("little", "small", "young", "cheerful", "quiet", "gentle", "clever", "curious", "busy", "dreamy")
COLOURS = ("red", "blue", "green", "yellow", "purple", "silver", "brown", "white", "pink", "golden")
WEATHER = ("sunny", "windy", "cloudy", "warm", "misty", "bright", "cool", "still")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
SNACKS = ("honey cake", "warm bread", "plum jam", "pancakes", "oat cookies", "berry pie", "carrot cake", "corn muffins",
          "apple slices", "nut bread", "cheese rolls", "cherry tarts")  # fmt: skip
HOUSES = ("cottage", "house", "hut", "cabin")
SPOTS = ("at the edge of the forest", "near the river", "on a green hill", "beside the mill", "behind the market",
         "at the end of a long lane", "close to the sea", "by the apple orchard")  # fmt: skip
GROWNUPS = (("Mom", 0), ("Dad", 1), ("Grandma", 0), ("Grandpa", 1), ("Aunt Rosa", 0), ("Uncle Finn", 1))

# what the hero does every day, how the story remembers it at the very end
HABITS = (
    ("liked to count things", "That night {he} counted the good things of the day and got to {n}."),
    ("loved to sing", "At night {he} made up a new song, and the name of {F} was in every line."),
    ("drew a picture every day", "Before bed {he} drew a picture of {F} and {himself} in {c2}."),
    ("asked a lot of questions", "At bedtime {he} had only one question left: could they do it all again?"),
    ("always wore a {c2} hat", "{He} hung the {c2} hat by the door and fell asleep with a smile."),
    ("kept a box of treasures", "{He} put {n} small pebbles in the box of treasures, to remember the day with {F}."),
    ("loved to eat {snack}", "In the evening {N} shared a big plate of {snack} with {F}."),
    ("told stories to the stars", "When the stars came out, {he} told them the whole story, and did not forget {F}."),
    ("wanted to be brave", "{G} looked at {him} and said that {he} was the bravest {kind} for miles."),
    ("always got up before the sun", "{He} went to bed early, because tomorrow {he} would be up before the sun again."),
)

# where, its name, a hiding spot there
PLACES = (
    ("in the garden", "the garden", "between two cabbages"),
    ("by the pond", "the pond", "among the tall reeds"),
    ("under the old oak", "the old oak", "in a hole between the roots"),
    ("on the beach", "the beach", "behind a pile of driftwood"),
    ("in the barn", "the barn", "deep in the hay"),
    ("at the playground", "the playground", "under the slide"),
    ("in the meadow", "the meadow", "in the long grass"),
    ("on the hill", "the hill", "beside a flat stone"),
    ("at the harbor", "the harbor", "under an old rowboat"),
    ("at the market", "the market", "below the fruit stand"),
    ("by the bridge", "the bridge", "next to a wet post"),
    ("by the windmill", "the windmill", "behind a sack of grain"),
)

# noun, what one does with it, how it breaks, what mends it, the tool or stuff needed
THINGS = (
    ("kite", "watch it dance in the wind", "its tail tore off", "tied a new tail to it", "a strip of cloth"),
    ("wagon", "pull it up and down the path", "one wheel came off", "pushed the wheel back on", "a strong pin"),
    ("boat", "float it on the water", "it got a hole", "closed the hole", "a lump of wax"),
    ("drum", "play a marching song on it", "its skin split", "stretched a new skin over it", "a piece of leather"),
    ("lantern", "light up the path with it", "its glass cracked", "covered the crack", "a sheet of clear paper"),
    ("ball", "bounce it against the wall", "all the air went out of it", "closed the tiny hole", "a rubber patch"),
    ("basket", "fill it with berries", "its handle came loose", "wove the handle back in", "a thin willow twig"),
    ("bell", "ring it at every door", "it lost its clapper", "hung a new clapper inside", "a round brass button"),
    ("scooter", "ride it round and round", "its bar bent sideways", "turned the bar straight", "a heavy wrench"),
    ("puppet", "make it bow and dance", "its arm fell off", "sewed the arm back on", "a needle and thread"),
    ("sled", "pull it over the soft ground", "its rope snapped", "knotted a new rope to it", "a length of rope"),
    ("flute", "play a soft tune on it", "it cracked down one side", "wrapped the crack tight", "a long silk ribbon"),
)

# animal, where it was, its trouble, what helps, its thanks
ANIMALS = (
    ("duckling", "by the pond", "its foot was caught in the reeds", "bent the reeds apart", "quacked"),
    ("kitten", "in a tall tree", "it was too afraid to climb down", "leaned a ladder on the trunk", "purred"),
    ("lamb", "behind the fence", "its wool was stuck on a thorn", "lifted the thorn away", "bleated"),
    (
        "puppy",
        "near the well",
        "it had walked too far from home",
        "followed the small paw prints back to its home",
        "barked",
    ),
    ("barn owl", "on the roof beam", "its wing was tangled in a string", "untied the string", "hooted"),
    ("frog", "on the dry road", "its skin was hot and dusty", "carried it to the wet grass", "croaked"),
    ("foal", "in the field", "its hoof was stuck in deep mud", "laid flat boards over the mud", "neighed"),
    ("turtle", "on the path", "it lay on its back", "turned it over with both hands", "blinked slowly"),
    ("sparrow", "under the window", "it was too cold to fly", "warmed it in a soft scarf", "chirped"),
    ("piglet", "beside the ditch", "it could not get up the steep side", "made steps out of stones", "squealed"),
)

# fear, where it is met, the sign, what it really was, advice
FEARS = (
    ("the dark", "in the long hallway", "Something went tap, tap, tap", "a branch at the window", "hold a light"),
    ("deep water", "at the edge of the lake", "Something splashed near the dock", "a fat old fish", "go in slowly"),
    ("thunder", "in the small tent", "Something boomed outside", "clouds bumping in the sky", "count after each flash"),
    ("dogs", "at the farm gate", "Something growled behind the gate", "a sleepy puppy", "hold out an open hand"),
    ("high places", "on the wooden tower", "Something creaked under the boards", "the old steps", "look at the sky"),
    ("the cellar", "on the cellar stairs", "Something rattled in the corner", "a loose jar lid", "sing all the way"),
    ("the forest", "on the forest path", "Something rustled in the leaves", "a hungry hedgehog", "walk step by step"),
    ("ghosts", "in the empty mill", "Something pale moved up and down", "a sheet on a line", "look twice"),
)

# storm, sign, what it did, what was missing afterwards, how it was put right
STORMS = (
    ("a great wind", "The leaves flew past like birds", "blew the roof off the hen house", "The hens had no roof",
     "nailed new boards over the hen house"),
    ("a heavy rain", "Fat drops hit the window", "washed away the little bridge", "Nobody could cross the stream",
     "laid a long plank across the stream"),
    ("a snowstorm", "The sky turned white", "buried the road to the village", "The baker could not bring bread",
     "dug a path all the way to the village"),
    ("a hailstorm", "Little balls of ice jumped on the path", "broke the glass of the greenhouse",
     "The young plants were cold", "put thick straw around the young plants"),
    ("a thunderstorm", "The sky growled far away", "knocked the old pine across the lane", "No cart could pass",
     "sawed the old pine into logs and rolled them aside"),
    ("a flood", "The river grew wide and brown", "filled the burrow of the rabbits with water",
     "The rabbits had no beds", "built a dry burrow on higher ground"),
)  # fmt: skip

# contest, how to get ready, what goes wrong, the prize
CONTESTS = (
    ("the boat race", "built a boat from bark and leaves", "the sail tipped over", "a tiny golden anchor"),
    ("the running race", "ran around the field every morning", "a shoe came untied", "a ribbon with a star"),
    ("the baking contest", "mixed flour, eggs and sugar", "the first cake came out flat", "a wooden spoon with a bow"),
    ("the singing contest", "sang the same song to the cows", "the high note squeaked", "a little silver bell"),
    ("the pumpkin contest", "watered a pumpkin every day", "the cart nearly rolled away", "a crown of straw"),
    ("the sandcastle contest", "packed wet sand into towers", "a wave took the gate", "a shiny bucket"),
    ("the kite contest", "glued paper and thin sticks", "the string got into knots", "a cup as tall as a mug"),
    ("the jumping contest", "jumped over every puddle", "the first jump was too short", "a medal made of tin"),
)

# skill, where, how it goes wrong, advice, how it goes well
SKILLS = (
    (
        "ride a bicycle",
        "on the lane",
        "fell into the grass",
        "Look ahead, not down at your feet",
        "rolled all the way down the lane",
    ),
    (
        "whistle",
        "behind the house",
        "blew only air",
        "Make your lips as small as a pea",
        "whistled like a bird at dawn",
    ),
    (
        "swim",
        "in the pond",
        "swallowed a lot of water",
        "Kick slowly, like a frog",
        "swam from one side of the pond to the other",
    ),
    (
        "skate",
        "on the frozen lake",
        "sat down hard on the ice",
        "Bend your knees a little",
        "made a big circle on the ice",
    ),
    (
        "bake bread",
        "in the kitchen",
        "pulled a black loaf from the oven",
        "Wait until it smells sweet",
        "took out a golden loaf",
    ),
    (
        "juggle",
        "under the apple tree",
        "dropped every one of the apples",
        "Throw higher, and only look up",
        "kept the apples in the air",
    ),
    (
        "tie a knot",
        "at the harbor",
        "made a tangle of loops",
        "The end goes around and under",
        "tied a knot that nobody could pull open",
    ),
    (
        "plant seeds",
        "in the garden",
        "put the seeds far too deep",
        "They want to be near the sun",
        "saw green tips come up in a row",
    ),
)

# what is hidden, where it is kept, how it shows itself
SECRETS = (
    ("a nest with blue eggs", "behind the shed", "the eggs cracked open and three chicks peeped"),
    ("a birthday gift", "under the stairs", "the paper crackled when somebody sat on it"),
    ("a tiny door in a tree", "behind the ivy", "a beetle pushed the tiny door open"),
    ("a baby rabbit", "in a box of hay", "the box began to hop across the floor"),
    ("a patch of wild strawberries", "below the stone wall", "the sweet smell reached the whole street"),
    ("a letter from far away", "inside a thick book", "the letter slid out and landed on a shoe"),
    ("a cave that shone", "near the waterfall", "light came out of the cave at noon"),
    ("a jar of glowing bugs", "on the top shelf", "the jar lit up the room after dark"),
)

# occasion, what is made for it, an excuse that hides it
PARTIES = (
    ("birthday", "a cake with {n} candles", "I smell like sugar because I spilled my tea"),
    ("name day", "a crown of {n} flowers", "These petals? The wind must have dropped them"),
    ("garden party", "a long sign with {n} stars", "I only need the paint for a fence"),
    ("summer party", "a pie with {n} apples in it", "I was just looking for a spoon"),
    ("winter party", "a quilt with {n} patches", "This thread is for a button"),
    ("tea party", "a card with {n} pictures", "The ink on my nose is from a letter"),
)
