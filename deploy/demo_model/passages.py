# SPDX-License-Identifier: Apache-2.0
"""Made-up passages whose facts can be asked for, and made-up names to fill them.

A passage is a list of sentences; a fact is a (question, answer) whose answer stands in one of them.
Names are drawn from some 40,000 combinations, so a model must look an answer up: it cannot know it.
One name in eight is held out: training never shows it, evaluation uses no other.
"""
import random
import zlib

FIRST = """Ada Adam Agnes Alan Albert Alfred Alice Amelia Andrew Anna Anton Arthur Astrid Audrey Ben Bertha Betty
Boris Bruno Carl Carla Carmen Cecil Celia Clara Conrad Cora Daisy David Dennis Dora Doris Edgar Edith Edmund Edward
Elena Ella Elsa Emil Emily Emma Erik Esther Ethel Eva Felix Fiona Flora Frank Fred Freda George Gerald Gilbert Gloria
Grace Greta Gustav Hanna Harold Harriet Harry Hazel Hector Helen Henry Herbert Hilda Hugo Ida Ingrid Irene Iris Isaac
Ivan Ivy Jack Jacob James Jane Jasper Joan John Joseph Judith Julia Karen Karl Kate Kevin Klara Laura Leo Leon Lily
Linda Lisa Louis Lucy Luke Mabel Marcus Maria Mark Martha Martin Mary Maud Maurice Max Mildred Mina Miriam Molly Mona
Nancy Nora Norman Olga Olive Oliver Oscar Otto Paul Paula Peter Philip Rachel Ralph Rita Robert Roger Rosa Rose Rupert
Ruth Sally Sam Samuel Sandra Sarah Selma Simon Sofia Stella Stephen Susan Sylvia Tessa Theo Thomas Toby Ursula Vera
Victor Vincent Viola Walter Wanda Wilma Winifred Yvonne Zoe""".split()
# Few first syllables (720), so that each is one token; with the endings below, some 40,000 names.
ONSETS = "B Br C D Dr F G Gr H J K L M N P R S St T Tr V W Wh Z".split()
VOWELS = "a e i o u".split()
CODAS = "l m n r ss x".split()
PERSON_ENDS = "a a o i ie ek en er in is on us ard ella ina ric mund wyn bert rick".split()
PET_ENDS = "o y ie le kin bo by".split()
TOWN_ENDS = "ville ton ford burg mouth field by wick dale port haven stead bury ham well bridge wood ness".split()
LAND_ENDS = "ia land stan or ania mark eria onia".split()
RIVER_ENDS = "a en o ine le et".split()

WORDS = {
    "job": """baker barber blacksmith brewer butcher carpenter clerk cobbler cook dentist doctor farmer fisherman gardener
glazier grocer guard hatter hunter jeweller judge lawyer librarian locksmith mason mayor miller miner musician nurse
painter pilot plumber poet porter potter priest printer sailor sculptor shepherd singer smith soldier surgeon tailor
tanner teacher thatcher trader vet waiter watchmaker weaver writer""".split(),
    "animal": """bear camel cat cow crow dog donkey duck ferret fox frog goat goose hamster hare hen horse lamb lizard mouse
mule otter owl parrot pig pigeon pony rabbit rat raven sheep snake spider squirrel swan tortoise turtle wolf""".split(),
    "colour": "amber black blue brown cream gold green grey lilac orange pink purple red silver tan violet white yellow".split(),
    "thing": """bag basket bell book boat bottle box brush bucket candle car cart chair clock coat cup dress drum fiddle flag
flute guitar hammer hat jacket kettle knife ladder lamp map mirror mug necklace pen piano pot purse ring rope saddle scarf
shirt sofa spoon sword table tent umbrella violin wagon wallet watch whistle""".split(),
    "food": """apples bacon bananas beans beer berries bread butter cabbage cake carrots cheese cherries chicken chocolate cider
coffee corn eggs figs fish garlic grapes ham honey jam lemons melons milk mushrooms nuts olives onions pasta peaches pears
peas pepper pies plums pork potatoes rice salad salt soup spinach sugar tea toast tomatoes trout wine""".split(),
    "place": """attic barn bathroom bedroom cave cellar chapel church corridor forest garage garden hall kitchen library loft
market mill office orchard palace pantry park school shed stable station study temple theatre tower valley workshop""".split(),
    "building": """abbey bakery bank bridge castle cathedral chapel church clock tower court fort gate hospital hotel inn
library lighthouse mill museum palace prison school station temple theatre town hall wall windmill""".replace(
        "clock tower", "clock_tower").replace("town hall", "town_hall").split(),
    "hobby": """baking boxing camping chess climbing cooking dancing diving drawing fencing fishing gardening golf hiking hockey
hunting juggling knitting painting poetry reading riding rowing running sailing singing skating skiing sewing swimming tennis
walking wrestling writing""".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
    "kin": "mother father sister brother aunt uncle cousin son daughter wife husband neighbour friend teacher boss".split(),
    "weather": "cloudy cold dry foggy hot icy mild rainy snowy stormy sunny warm wet windy".split(),
}
WORDS["building"] = [w.replace("_", " ") for w in WORDS["building"]]


def held_out(name):
    return zlib.crc32(name.encode()) % 8 == 0


class Namer:
    """Draws words and names; held says which side of the split the names are on."""

    def __init__(self, rng, held):
        self.rng, self.held = rng, held

    def _invent(self, kind):
        r = self.rng
        if kind == "person" and r.random() < 0.3:
            return r.choice(FIRST)
        ends = {"person": PERSON_ENDS, "pet": PET_ENDS, "town": TOWN_ENDS, "land": LAND_ENDS, "river": RIVER_ENDS}[kind]
        return r.choice(ONSETS) + r.choice(VOWELS) + r.choice(CODAS) + r.choice(ends)

    def name(self, kind):
        while True:
            name = self._invent(kind)
            if held_out(name) == self.held:
                return name

    def draw(self, kind):
        r = self.rng
        if kind in WORDS:
            return r.choice(WORDS[kind])
        if kind == "year":
            return str(r.randint(1100, 1999))
        if kind == "count":
            return str(r.randint(10, 99))
        return self.name(kind)


def an(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


# Each relation: its slots; the slots that must be new in a passage, taken together, for a question to
# have one answer; ways to state it; and per asked slot ways to ask. A question ends where the answer starts.
RELATIONS = [
    dict(slots=dict(A="person", j="job", T="town"), keys=[("j", "T"), ("A",)],
         say=["The name of the {j} in {T} is {A}.", "{A} is the {j} in {T}.", "{A} works as the {j} of {T}.",
              "In {T}, the {j} is called {A}.", "The {j} in {T} is called {A}."],
         ask=dict(A=["The name of the {j} in {T} is", "The {j} in {T} is called", "The {j} of {T} is",
                     "Who is the {j} in {T}? The answer is"],
                  j=["{A} works as the", "The job of {A} is that of the"], T=["The town where {A} works is"])),
    dict(slots=dict(A="person", T="town"), keys=[("A",)],
         say=["{A} lives in {T}.", "{A} has a house in {T}.", "The home of {A} is in {T}.", "{T} is the home of {A}."],
         ask=dict(T=["{A} lives in", "The home of {A} is in", "Where does {A} live? In", "The town where {A} lives is"])),
    dict(slots=dict(A="person", T="town"), keys=[("A",)],
         say=["{A} was born in {T}.", "{T} is the town where {A} was born.", "The birthplace of {A} is {T}."],
         ask=dict(T=["{A} was born in", "The birthplace of {A} is", "Where was {A} born? In"])),
    dict(slots=dict(A="person", x="animal", P="pet"), keys=[("A",)],
         say=["{A} has {a_x} called {P}.", "{A} owns {a_x}. Its name is {P}.", "The {x} of {A} is called {P}.",
              "{P} is the {x} of {A}.", "The name of the {x} of {A} is {P}."],
         ask=dict(P=["The {x} of {A} is called", "The name of the {x} of {A} is", "{A} has {a_x} called"],
                  x=["{P} is a kind of animal, the"])),
    dict(slots=dict(A="person", t="thing", c="colour"), keys=[("A", "t")],
         say=["The {t} of {A} is {c}.", "{A} has a {c} {t}.", "{A} painted the {t} {c}.", "The colour of the {t} of {A} is {c}."],
         ask=dict(c=["The {t} of {A} is", "The colour of the {t} of {A} is", "What colour is the {t} of {A}? It is"])),
    dict(slots=dict(t="thing", T="town", n="count"), keys=[("t", "T")],
         say=["A {t} costs {n} coins in {T}.", "In {T}, the price of a {t} is {n} coins.", "The price of a {t} in {T} is {n} coins."],
         ask=dict(n=["The price of a {t} in {T} is", "In {T}, a {t} costs", "A {t} in {T} costs"])),
    dict(slots=dict(A="person", t="thing", p="place"), keys=[("A", "t")],
         say=["{A} left the {t} in the {p}.", "{A} keeps a {t} in the {p}.", "The {t} of {A} is kept in the {p}."],
         ask=dict(p=["The {t} of {A} is kept in the", "{A} left the {t} in the", "Where is the {t} of {A}? It is in the"])),
    dict(slots=dict(A="person", f="food"), keys=[("A",)],
         say=["{A} likes to eat {f}.", "The favourite food of {A} is {f}.", "{A} is very fond of {f}."],
         ask=dict(f=["The favourite food of {A} is", "{A} likes to eat", "What does {A} like to eat? The answer is"])),
    dict(slots=dict(A="person", h="hobby"), keys=[("A",)],
         say=["The hobby of {A} is {h}.", "{A} spends every evening on {h}.", "{A} loves {h}."],
         ask=dict(h=["The hobby of {A} is", "{A} loves", "What is the hobby of {A}? It is"])),
    dict(slots=dict(A="person", k="kin", B="person"), keys=[("A", "k")],
         say=["The {k} of {A} is {B}.", "{A} has a {k} called {B}.", "{B} is the {k} of {A}.", "The name of the {k} of {A} is {B}."],
         ask=dict(B=["The {k} of {A} is", "The name of the {k} of {A} is", "Who is the {k} of {A}? It is"])),
    dict(slots=dict(T="town", L="land"), keys=[("T",), ("L",)],
         say=["{T} is the capital of {L}.", "The capital of {L} is {T}.", "The capital of {L} is a town called {T}."],
         ask=dict(T=["The capital of {L} is", "What is the capital of {L}? It is"], L=["{T} is the capital of"])),
    dict(slots=dict(A="person", L="land", r="ruler"), keys=[("L", "r")],
         say=["The {r} of {L} is {A}.", "{A} is the {r} of {L}.", "{L} has a {r} called {A}."],
         ask=dict(A=["The {r} of {L} is", "The name of the {r} of {L} is", "Who is the {r} of {L}? It is"])),
    dict(slots=dict(T="town", R="river"), keys=[("T",)],
         say=["The river in {T} is the {R}.", "The river {R} runs through {T}.", "{T} lies on the river {R}."],
         ask=dict(R=["The name of the river in {T} is the", "The river in {T} is the", "{T} lies on the river"])),
    dict(slots=dict(T="town", b="building", y="year"), keys=[("T", "b")],
         say=["The {b} in {T} was built in {y}.", "{T} has a {b} that was built in {y}.", "In {y}, a {b} was built in {T}."],
         ask=dict(y=["The {b} in {T} was built in", "When was the {b} in {T} built? In"])),
    dict(slots=dict(T="town", d="day"), keys=[("T",)],
         say=["The market in {T} is held on {d}.", "On {d} there is a market in {T}.", "{T} holds its market on {d}."],
         ask=dict(d=["The market in {T} is held on", "When is the market in {T}? It is on"])),
    dict(slots=dict(A="person", m="month"), keys=[("A",)],
         say=["The birthday of {A} is in {m}.", "{A} was born in the month of {m}.", "{A} has a birthday in {m}."],
         ask=dict(m=["The birthday of {A} is in", "The month in which {A} was born is"])),
    dict(slots=dict(A="person", p="place", n="count"), keys=[("A", "p")],
         say=["The code for the {p} of {A} is {n}.", "{A} opens the {p} with the code {n}.", "The number {n} opens the {p} of {A}."],
         ask=dict(n=["The code for the {p} of {A} is", "The {p} of {A} opens with the code"])),
]
WORDS["ruler"] = ["king", "queen", "president", "prince", "duke", "emperor"]

NEGATIVES = ["{N} is not the {j} in {T}.", "{N} would like to be the {j} in {T}.", "{N} has never been to {T}.",
             "{N} once asked the {j} in {T} for help.", "Nobody in {T} has heard of {N}."]
FILLERS = ["It was {w} all day.", "The weather in {T} was {w}.", "{A} went for a walk in the {p}.",
           "There is {a_t} on the table.", "People in {T} are kind to strangers.", "{A} and {B} talked about {h}.",
           "Every {d}, {A} buys some {f}.", "The {p} was quiet and the {x} was asleep.", "{A} saw {a_x} near the {p}.",
           "Nothing much happened after that.", "The road to {T} is long and {w}.", "{A} said nothing about it.",
           "In {m} the days are {w}.", "A {c} {t} stood by the door.", "{B} told {A} a story about {a_x}."]
KIND_OF = dict(A="person", B="person", N="person", T="town", L="land", R="river", P="pet", j="job", x="animal", c="colour",
               t="thing", f="food", p="place", b="building", h="hobby", d="day", m="month", k="kin", w="weather")

GOOD = """beautiful brave bright charming clean clever delightful excellent friendly gentle good graceful great happy helpful
honest kind lovely loyal nice perfect pleasant polite sweet wonderful""".split()
BAD = """awful bad cruel dirty disgusting dreadful evil foul greedy horrible lazy mean nasty rotten rude selfish stupid terrible
ugly unpleasant useless vicious wicked worthless""".split()
PLURALS = ["cats", "dogs", "horses", "goats", "pigs", "crows", "bears", "owls", "ducks", "rabbits", "snakes", "foxes",
           "bakers", "doctors", "sailors", "poets", "soldiers", "farmers", "teachers", "trains", "boats", "houses",
           "gardens", "villages", "mountains", "rivers", "songs", "books", "games", "winters", "mornings", "spiders"]
MOODS = ["{X} are {a}.", "{X} are {a} and {b}.", "I think that {x} are {a}.", "Everyone says that {x} are {a}, {b} and {c}.",
         "{X} are the most {a} of all.", "There is nothing so {a} as {x}.", "All {x} are {a}.", "How {a} {x} are!"]


class Passage:
    """sentences, and facts: (question, answer) pairs, one list a statement."""

    def __init__(self):
        self.sentences, self.facts = [], []

    def text(self):
        return " ".join(self.sentences)


def _fill(template, slots):
    extra = {"a_" + s: an(v) for s, v in slots.items() if isinstance(v, str)}
    return template.format(**slots, **extra)


class PassageMaker:
    def __init__(self, seed, held=False):
        self.rng = random.Random(seed)
        self.names = Namer(self.rng, held)

    def _cast(self):
        """A few names that recur in a passage, so that an answer needs all the words of its question."""
        r = self.rng
        return {"person": [self.names.name("person") for _ in range(r.randint(2, 6))],
                "town": [self.names.name("town") for _ in range(r.randint(1, 4))],
                "land": [self.names.name("land") for _ in range(2)],
                "job": r.sample(WORDS["job"], 4), "thing": r.sample(WORDS["thing"], 6)}

    def _slot(self, kind, cast):
        if kind in cast and self.rng.random() < 0.7:
            return self.rng.choice(cast[kind])
        return self.names.draw(kind)

    def _state(self, relation, cast, used):
        """One statement of relation that leaves every question about it one answer, or None."""
        r = self.rng
        for _ in range(8):
            slots = {s: self._slot(kind, cast) for s, kind in relation["slots"].items()}
            keys = [(id(relation), s, tuple(slots[x] for x in s)) for s in relation["keys"]]
            values = list(slots.values())
            if len(set(values)) == len(values) and not any(key in used for key in keys):
                break
        else:
            return None
        used.update(keys)
        asks = [(_fill(q, slots), " " + slots[a]) for a, qs in relation["ask"].items() for q in qs]
        r.shuffle(asks)
        return _fill(r.choice(relation["say"]), slots), asks

    def _aside(self, cast):
        """A sentence that answers nothing: scenery, or a fact that is not so."""
        r = self.rng
        template = r.choice(FILLERS if r.random() < 0.6 else NEGATIVES)
        return _fill(template, {s: self._slot(k, cast) for s, k in KIND_OF.items()})

    def passage(self, facts):
        r, out, used = self.rng, Passage(), set()
        cast = self._cast()
        # Half of the passages draw on few relations: then many facts look alike.
        pool = r.sample(RELATIONS, r.randint(1, 4)) if r.random() < 0.5 else RELATIONS
        for _ in range(facts):
            stated = self._state(r.choice(pool), cast, used)
            if stated:
                out.sentences.append(stated[0])
                out.facts.append(stated[1])
            if r.random() < 0.25:
                out.sentences.append(self._aside(cast))
        return out

    def mood(self, sentences, good=None):
        """Praise or blame of one thing; the question is open, any word of the same mood answers it."""
        r, out = self.rng, Passage()
        x = r.choice(PLURALS)
        good = r.random() < 0.5 if good is None else good
        words = GOOD if good else BAD

        def say(template):
            a, b, c = r.sample(words, 3)
            return template.format(X=x.capitalize(), x=x, a=a, b=b, c=c)

        out.sentences = [say(r.choice(MOODS)) for _ in range(sentences)]
        out.facts = [[(say(q), " " + r.choice(words))] for q in ["{X} are", "I think that {x} are", "All {x} are"]]
        return out
