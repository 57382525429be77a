"""Plots in which something happens: see `frames` for how to read them."""

from __future__ import annotations

from growjax.data.frames import Node

LOST: Node = [
    ["{morning}{N} took {his} {T} to {p1} to {use}.", ("Then {he} stopped {w2} and talked to {his} friend {F}.", "")],
    ("When {he} came home, the {T} was gone.", "But at home {his} hands were empty. Where was the {T}?"),
    ('"I have lost my {T}!" {he} cried.', "{N} felt so sad that {he} could not eat.", "{He} began to cry."),
    (
        '"Let us think," said {his} friend {F}. "Where did you have it first?" "{W1}," said {N}.',
        '"Did you take it to {p1} today?" asked {his} friend {F}. {N} nodded.',
        "{F}, a {fkind} from next door, heard about it and came to help at once.",
    ),
    (
        "First they looked {w3}, but they found only {n} old buttons.",
        "They asked everyone {w3}, but nobody had seen a {T}.",
        "",
    ),
    "Then they went back to {p1}. There, {h1}, lay the {T}!",
    (
        '"You found it!" {N} said, and gave {F} a hug.',
        '{N} held it tight. "I will never leave you {w1} again," {he} said.',
        "{N} was so happy that {he} jumped up and down {n} times.",
    ),
    (
        "After that, {he} always looked behind {him} before {he} went home.",
        "From that day on, {N} took good care of the {T}.",
    ),
]

CONTEST: Node = [
    "{friend} {morning}{N} heard about {contest}. The prize was {prize}.",
    ('"I want to win it!" said {N}.', '"Let us both try," said {F}.'),
    "For {n} days {N} {prepare}.",
    ("{F} got ready too, but {fhe} worked alone.", "{G} watched and gave {him} some {snack}.", ""),
    "At last the day of {contest} came. {N} was nervous.",
    "In the middle of it, {wrong}. {N} wanted to give up.",
    (
        '"Do not stop now!" called {F}.',
        '"Take a deep breath," said {G}.',
        "{He} thought of all the work {he} had done.",
    ),
    (
        [
            "So {he} tried once more, and this time it went well. {N} won {contest}!",
            ("{He} held {theprize} up high.", "The judge gave {him} {theprize}, and everybody clapped."),
            ('"You helped me," {he} said to {F}. "It is yours too."', "{He} let {F} hold the prize all evening."),
            "Winning is nice, but winning with a friend is better.",
        ],
        [
            "So {he} tried once more, but {F} was better that day. {F} won {contest}.",
            (
                "{N} was sad for a moment, but then {he} clapped for {F}.",
                "{N} swallowed hard and shook hands with {F}.",
            ),
            'The judge gave {F} {theprize}. "You can keep it on your shelf every second week," {F} told {N}.',
            "{N} had lost {contest}, but {he} had not lost a friend.",
        ],
    ),
]

STORM: Node = [
    "{morning}{N} and {his} friend {F} were playing with the {T} {w1}. {F} looked up. {sign}.",
    ('"We should go home," said {F}.', '"Come inside!" called {G}.'),
    ("Soon {storm} came.", "Before long, {storm} was there."),
    (
        "They ran home and hid under a blanket.",
        "{G} closed all the windows, and they waited.",
        "They ate {snack} inside.",
    ),
    "In the night, {thestorm} {damage}.",
    ("When the morning came, they saw what had happened.", "The next day it was quiet, and they went out to look."),
    "{missing}. {N} felt sorry.",
    ('"We can fix this," {he} said.', '"What can we do?" asked {F}. "We can work," said {N}.'),
    "All day long {N}, {F} and {G} worked. They {fixstorm}.",
    ("The {T} had to wait until all was done.", "They were tired and dirty, but proud.", ""),
    ("Then all the neighbors came to say thank you.", "That evening, everyone ate {snack} together."),
    (
        "After {thestorm}, they were not so afraid of the next one.",
        "What {thestorm} had broken, friends had made whole.",
    ),
]

REPAIR: Node = [
    "{friend} {morning}they took the {T} to {p1} to {use}.",
    (
        "{F} pulled too hard, and {breaks}.",
        "{N} was not careful, and {breaks}.",
        "They bumped into a tree, and {breaks}.",
    ),
    ('"Oh no!" cried {F}. "The {T} is broken."', "For a moment nobody said a word."),
    ("{N} was angry, but {he} did not shout.", "{N} wanted to throw it away.", "{F} felt very bad about it."),
    '"Do not worry," said {G}. "To mend it you only need {tool}."',
    (
        "They looked {w2}, but there was nothing of use. {W3}, {h3}, they found {tool}.",
        "They went to {p3} and asked for help. An old man there gave them {tool}.",
        "{F} ran home and came back with {tool}.",
    ),
    "With it, {N} {mends}. {F} held it still.",
    ("It took until noon.", "They had to try {n} times.", ""),
    ("Now the {T} was as good as new.", "The {T} looked a little odd, but it worked."),
    ("They went back to {p1} and laughed.", '"I like it even more now," said {N}.'),
    ("What is broken can often be mended.", "Good friends mend things. They do not throw them away."),
]

SEARCH: Node = [
    "{morning}{N} found an old map. It showed a cross near {p1}, and below it stood the number {n}.",
    ('{He} ran to {his} friend {F}. "Look, a treasure!"', "{He} showed it to {F}, a {fadj} {fkind} who loved riddles."),
    ("They packed some {snack} and set out.", "They took a lamp, a rope and some {snack}."),
    (
        "On the way they passed {p2}, but there was no cross {w2}.",
        "At first they went the wrong way and ended up {w2}.",
        "",
    ),
    ('"Maybe it is not real," said {F}.', "{N} got tired and wanted to turn back."),
    (
        "At a fork in the path, a {animal} looked at them and then at the other path. They took the other path.",
        "Then {F} turned the map around. They had held it upside down!",
    ),
    'At last they stood {w1}. "The number!" said {N}. They took {n} steps and dug.',
    "{H1}, they found a box. In the box lay a {T}.",
    (
        "A note in it said: take it to {p3} and {use}.",
        "It had belonged to {G} a long time ago.",
        "{F} wiped the dust off, and it shone.",
    ),
    ('"We found it together, so it belongs to both of us," said {N}.', '"You read the map, and I dug," said {F}.'),
    ("They kept the map and the {T} on one shelf.", "And the map? They drew a new cross on it for someone else."),
]

FEAR: Node = [
    "But {N} was afraid of {fear}. {friend}",
    ('"I will never get over it," {he} told {F}.', "{He} did not want anyone to know."),
    "{morning}the {T} was left {fearplace}. {N} needed it back.",
    ("{His} knees shook.", "{His} heart beat fast.", "{He} took one step and stopped."),
    '"When I was small, I was afraid of {fear}, too," said {G}. "The trick is this: {advice}."',
    ("{F} took {his} hand.", '"I am right behind you," said {F}.', '"I believe in you," said {F}.'),
    "So {N} went. {feared}! {N} wanted to run away.",
    "Then {he} remembered the trick: {advice}. {He} did it, and {he} saw what it was. It was only {truth}!",
    ("{N} began to laugh, and {F} laughed, too.", '"Is that all?" said {N}.'),
    "{He} picked up the {T} and carried it home.",
    ("Now {he} was not so afraid of {fear} any more.", "{N} still did not love {fear}, but {he} knew what to do."),
]

ANIMAL: Node = [
    "{morning}{N} and {his} friend {F} walked past {p1} with the {T}.",
    ("They heard a thin voice.", "{F} stopped and listened.", '"Did you hear that?" asked {F}.'),
    "There was a {animal} {where}. The poor {animal} needed help: {trouble}.",
    ('"We have to help it," said {N}.', '"Poor thing," said {F}. "What can we do?"'),
    ("First they came too fast, and that scared it.", "{G} said that they must be slow and quiet.", ""),
    "So {N} spoke softly, and {F} {rescue}.",
    ("It took a long time, but it worked.", "After a while, the {animal} was safe."),
    ("They gave it some water and stayed with it.", "{N} gave it some {snack}.", ""),
    "The {animal} looked at them and {thanks}.",
    (
        [
            "The next day, {N} could not find the {T}. Who brought it back? It was the {animal}!",
            '"One good turn for another," said {G}.',
        ],
        "From then on, the {animal} came to {p1} every {day2} to see them.",
        "{F} named it {pet}, and {pet} followed them all the way home.",
    ),
    ("Being kind is never for nothing.", "Small hands can be a big help."),
]

EVENTS: tuple[Node, ...] = (LOST, CONTEST, STORM, REPAIR, SEARCH, FEAR, ANIMAL)
