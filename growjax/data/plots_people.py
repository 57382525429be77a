"""Plots about what people do to one another: see `frames` for how to read them."""

from __future__ import annotations

from growjax.data.frames import Node

NEWFRIEND: Node = [
    "{morning}{N} went to {p1} with {his} {T}. {He} wanted to {use}, but it was no fun alone.",
    (
        "{W1} sat a {fkind} {he} had never seen before.",
        "Then {he} saw a {fkind} {w1}, sitting all alone.",
    ),
    ("The {fkind} looked sad.", "The {fkind} looked down at the ground.", "The {fkind} was too shy to wave."),
    '"Hello, I am {N}. What is your name?" "I am {F}," said the {fkind} in a low voice.',
    (
        '"I just moved here from a {house} near {p2}, and I know nobody," said {F}.',
        '"I miss my old home near {p2}," said {F}.',
    ),
    (
        '{N} thought for a moment. "Now you know me," {he} said. "Do you want to try my {T}?"',
        '{N} held out the {T}. "Here, you can go first," {he} said.',
    ),
    ("They took turns until the sun was low.", "They laughed so hard that they had to sit down."),
    (
        "{F} showed {him} a game from {fhis} old home. They played it {n} times.",
        "{F} gave {him} a little stone from {fhis} old home. {N} put it in {his} pocket.",
        "",
    ),
    (
        '"Will you come back tomorrow?" asked {F}. "Yes," said {N}, "and I will bring the {T}."',
        "When it was time to go, {F} was not sad any more.",
    ),
    ("A friend can begin with one hello.", "Now {N} did not play alone, and neither did {F}."),
]

SECRET: Node = [
    "{friend} {morning}{N} found {secret} {hidden}.",
    ('"This will be my secret," {he} whispered.', "{He} told nobody, not even {G}."),
    "Every day {he} went to look at it, and every day {F} asked where {he} had been.",
    ('"Nowhere," said {N}.', '"I was only {w1}," said {N}, but {he} had not been {w1} at all.'),
    ("{F} was hurt and walked away without a word.", "{F} thought that {N} did not like {fhim} any more."),
    "Without {F}, the secret was heavy. {N} had no one to laugh with.",
    (
        [
            "So {he} took {F} by the hand and showed {fhim} what was {hidden}.",
            '"Look," said {N}. It was {secret}. {F} smiled. "I will tell no one," {fhe} said.',
        ],
        [
            "Then one day, {reveal}. Now {F} knew, and so did everyone else.",
            '"I am sorry that I hid it from you," said {N}. "I forgive you," said {F}.',
        ],
    ),
    ("From then on they went to look at it together.", "After that they watched over it, two by two."),
    ("A secret is lighter when two carry it.", 'And {N} never again said "nowhere" to a friend.'),
]

SHARE: Node = [
    "{friend} {morning}{G} gave {N} some {snack2} and a {T}.",
    ("{N} wanted to keep everything.", '"All of this is mine," said {N}.'),
    "{He} went to {p1} to {use}. {F} came along. {FHe} had nothing to eat and nothing to play with.",
    ('"May I have a turn?" asked {F}. "No," said {N}.', "{F} looked at the {T}, but {N} turned away."),
    ("So {F} went off to {p2} alone.", "{F} sat down far away and drew lines in the dirt."),
    (
        "Soon {N} was full, and playing alone was dull.",
        "{N} played with the {T} for a while, but there was no one to laugh with.",
    ),
    ("{He} remembered how {F} once shared a {c2} umbrella with {him} in the rain.", "{He} felt a small hurt inside."),
    '{N} ran to {F}. "I am sorry. Half of my {snack2} is yours, and you can have the {T} first."',
    ("{F} smiled again.", '"Thank you," said {F}, and {fhis} eyes were bright.'),
    "They ate the {snack2} and played with the {T} until {G} called.",
    (
        "It tasted better together.",
        "Half was more fun than all of it.",
        "{N} learned that sharing makes things bigger.",
    ),
]

SURPRISE: Node = [
    "{friend} It was nearly time for the {party} of {F}.",
    "{morning}{N} had an idea. {He} wanted to make {made}.",
    ('"Will you help me?" {he} asked {G}. "Of course," said {G}.', "{G} gave {him} all that {he} needed."),
    "{N} worked {w1}, where {F} never went.",
    'But then {F} came by. "What are you doing?" {fhe} asked. {N} turned red. "{excuse}," {he} said.',
    ("{F} looked puzzled and went home.", '"You are strange today," said {F}, and went away.'),
    (
        "{F} thought everybody had forgotten the {party}.",
        "That evening {F} sat alone and felt a bit sad.",
        "",
    ),
    'The next day {N} asked {F} to come to {p1}. "Close your eyes," {he} said. "Now open them!"',
    "There was {made}, and next to it lay a {T}.",
    ('"All this for me?" said {F}.', "{F} clapped and danced around in a circle."),
    ('"So that is why you were so strange!" {fhe} laughed.', '"That is why you hid {w1}!" {fhe} said.'),
    ("It was the best {party} ever.", "{N} was even happier than {F}."),
]

PROMISE: Node = [
    '{friend} {morning}{N} made a promise. "I will bring you my {T} on {day2}," {he} told {F}.',
    ('"Do you promise?" asked {F}. "I do," said {N}.', "They shook hands on it."),
    "But when {day2} came, {N} wanted to go to {p2} instead.",
    ("There was music there, and {snack} for all.", "All the others were going there for the music."),
    ('"I can bring the {T} some other day," {he} thought.', "{He} put on {his} shoes and nearly forgot the {T}."),
    '"Did you not promise something?" asked {G}. {N} stopped at the door.',
    (
        [
            "{He} thought of {F}, who was waiting {w1}. So {he} took the {T} and ran to {p1}.",
            '"You came!" said {F}. "I promised it," said {N}.',
            (
                "They did not miss the music at all.",
                "Later they both went to {p2}, and nobody had eaten all of the {snack}.",
            ),
            "A promise kept is like a gift.",
        ],
        [
            "But {he} went to {p2} all the same. It was no fun, because {he} thought of {F} all the time.",
            "In the evening {he} found {F} {w1}, still waiting. {F} was cold and sad.",
            '"I broke my promise, and I am sorry," said {N}. {He} gave {F} the {T} to keep for {n} days.',
            "After that, {N} kept every promise {he} made.",
        ],
    ),
]

HONEST: Node = [
    '{G} had a {T} that {ghe} loved. "Please do not touch it," {ghe} said.',
    "{morning}{N} took it anyway, because {he} wanted to {use}. Then {breaks}!",
    ("{N} hid it {w1}, {h1}.", "Quickly, {he} carried it off and put it {w1}, {h1}."),
    'In the evening {G} asked, "Who has seen my {T}?"',
    ('"Maybe {F} took it," said {N}.', '"It was not me," said {N}, and looked at the floor.'),
    ("{G} was sad and searched the whole {house}.", "{N} could not sleep. The lie felt like a stone in {his} belly."),
    ('"You should tell the truth," said {his} friend {F}.', "{His} friend {F} asked {him} {n} times what was wrong."),
    'At last {N} went to {G}. "It was me. I broke it, and I hid it {w1}."',
    (
        '"Thank you for the truth," said {G}. "A {T} can be mended."',
        "{G} was quiet for a moment. Then {ghe} took {N} in {ghis} arms.",
    ),
    "They fetched it together. {G} brought {tool}, and {N} {mends}.",
    (
        "That night {N} slept well.",
        "The stone in {his} belly was gone.",
        "The truth was hard to say, but good to hear.",
    ),
]

LEARN: Node = [
    "{friend} {F} could {skill}, but {N} could not.",
    '{morning}{N} said, "Today I will learn to {skill}."',
    ("{He} tried it {lw}. {He} {fail}.", "{LW}, {he} gave it a try. {He} {fail}."),
    ("Some others laughed.", "{N} turned red.", '"I am just too small," {he} said.'),
    ("{He} tried again and {fail} again.", "{He} tried {n} times, and each time {he} {fail}."),
    'Then {F} came. "I had to learn it, too," said {F}. "{hint}."',
    ('"{hint}," {N} said to {himself}, over and over.', "{N} listened well and nodded."),
    ("They worked at it every day until {day2}.", "The next morning {he} was back {lw}, and so was {F}."),
    "And then it happened: {N} {success}!",
    ('"I can do it! I can {skill}!" {he} shouted.', "{F} cheered and threw {fhis} {c2} cap in the air."),
    ("{G} made {snack} to celebrate.", "{G} gave {him} a {T} because {he} had not given up.", ""),
    (
        'Later {N} taught it to someone else. "{hint}," {he} said.',
        "{N} had failed many times, but one good try was enough.",
    ),
]

PEOPLE: tuple[Node, ...] = (NEWFRIEND, SECRET, SHARE, SURPRISE, PROMISE, HONEST, LEARN)
