"""Cues: what a prompt asks and whom it is about, by a small English word list of our own.

A few hundred labelled prompts say little about single words. A list that knows beforehand that `steal` and `smuggle`
are alike, or that a question of why some group of people is lazy is no question, carries over to words that were never
seen. The lists were written from general knowledge of what chat models decline, not from labelled prompts. They are
English; in another language only the marks of form say anything. Slurs are left to the n-grams.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CUES", "cues"]

TOPICS: dict[str, str] = {
    "people of a kind": """
        people women woman men man girl boy guy female male kid child wife husband parent teen millennial society
        immigrant refugee foreigner minority celebrity cop police white black asian african european american indian
        chinese russian german british french japanese korean pakistani arab mexican turk iranian canadian israeli
        palestinian southern northern native latino hispanic gay lesbian transgender trans homosexual straight
        liberal conservative democrat republican leftist feminist atheist muslim jew christian hindu catholic sikh
        buddhist mormon brahmin dalit tamil punjabi race ethnic""",
    "religion": """
        islam islamic muslim jew jewish judaism christian christianity hindu hinduism sikh catholic buddhist mormon
        atheist atheism god allah jesus christ muhammad prophet bible quran koran religion religious church pope hijab
        sharia mosque temple holy heaven hell satan""",
    "politics": """
        president congress senate politic politician political election elect vote voter government govt party left
        right wing liberal conservative republican democrat democrats gop leftist communist communism socialist
        socialism capitalism fascist fascism nazi hitler trump obama clinton hillary bush biden modi bjp putin brexit
        feminism feminist abortion immigration gun guns border refugee israel palestine kashmir racism racist antifa
        protest media propaganda tax democracy dictator liberals policy supreme minister""",
    "sex": """
        sex sexual sexy sexually porn pornography rape rapist raped breast vagina penis naked nude virgin masturbate
        masturbation orgasm incest erotic prostitute prostitution pedophile fetish horny seduce intercourse molest
        genital erection kinky""",
    "violence": """
        kill killer murder murderer die death dead shoot shooter shot bomb explosive attack terrorist terrorism terror
        destroy genocide massacre execute hang violence violent suicide weapon slaughter torture stab strangle poison
        beat punch assassinate war holocaust hurt harm nuke invade exterminate hunt kidnap lynch behead blood""",
    "crime": """
        steal theft thief rob robber robbery hack hacker hacking illegal illegally drug cocaine heroin meth marijuana
        weed fake forge counterfeit cheat crime criminal smuggle fraud scam launder blackmail bribe bully stalk
        trespass burglary shoplift malware virus password pirate evade traffic abuse harass threaten extort""",
    "insult": """
        stupid dumb idiot ugly fat hate hatred hateful evil worst disgusting disgust dirty lazy pathetic loser moron
        crazy insane ignorant arrogant annoying rude selfish hypocrite hypocritical liar lying corrupt
        coward inferior filthy fool brainwash brainwashed delusional terrible horrible awful worthless useless shit
        crap damn greedy savage uncivilized barbaric backward obnoxious
        shameless shame weak cry whine whining bad disgrace toxic jealous racist sexist bigot ruin failure suck
        superior obsessed intolerant smell scared afraid butthurt snowflake sheep trash garbage parasite""",
    "praise": """
        best good great better beautiful favorite favourite love amazing awesome nice interesting smart successful
        attractive brilliant hero greatest perfect cool fun funny honest proud""",
    "opinion": """
        think thought opinion feel feeling believe belief agree disagree view prefer consider worth deserve justified
        moral immoral ethical overrated underrated fair unfair acceptable wrong hypothetically""",
    "blame": """
        blame responsible accuse accept admit deny support allow ban stop pretend refuse force impose apologize
        criticize complain defend ignore pretend punish banned forbid get rid oppose tolerate expose""",
    "the model itself": "you your yours yourself ai chatgpt robot bot assistant",
    "the asker": "i my me mine myself im i'm i've i'd we our us",
    "experience": """
        experience happened story felt met seen remember life childhood ever personally favorite favourite
        wish regret dream memory friend date""",
    "body and mind": """
        doctor pain pregnant pregnancy disease cancer symptom medication depression depressed anxiety autism disorder
        mental therapy surgery treatment diet weight skin hair sleep sick medicine pill dose anorexia""",
    "learning": """
        college university school exam study student degree course engineering math mathematics physics chemistry
        biology history science language english grammar word define difference example theory explain meaning""",
    "technology": """
        computer software java python programming code app website android iphone phone internet machine laptop
        online data file windows linux google facebook instagram device camera engine battery server""",
    "work and money": """
        money salary job business company market buy price cost pay bank invest career interview startup marketing
        hire employee manager sell product resume customer loan""",
    "culture": "movie film song book music show game tv character actor novel anime series band sport team player",
    "travel and food": "travel city country visit hotel food eat cook recipe restaurant water trip weather car drive",
    "now and next": """
        will would going future predict prediction next soon today now current currently latest recent recently
        tomorrow year upcoming 2017 2018 2019 2020 2021 2022 2023 2024 2025 2026""",
    "making": "write make create build draw generate compose design produce prepare develop cook grow install plan",
    "generality": "all every most many always never everyone everybody nobody no any only ever whole entire",
    "negation": "not never without no nothing don't dont doesn't cant can't won't isn't aren't didn't wouldn't",
}
"""Words by what they are about; matched whole, and without a plural or verbal ending."""

FORMS: dict[str, str] = {
    "opens with why": r"^\W*why\b",
    "opens with what": r"^\W*what\b",
    "opens with how": r"^\W*how\b",
    "opens with how do, can, to": r"^\W*how (?:do|can|should|could|to)\b",
    "opens with who, where, when, which": r"^\W*(?:who|where|when|which)\b",
    "opens with is, are, was": r"^\W*(?:is|are|was|were|isn't|aren't)\b",
    "opens with do, does, did": r"^\W*(?:do|does|did|don't|doesn't)\b",
    "opens with can, could": r"^\W*(?:can|could)\b",
    "opens with should, would, will": r"^\W*(?:should|would|will)\b",
    "opens with if, since": r"^\W*(?:if|since|when will|as an?)\b",
    "opens with has, have": r"^\W*(?:has|have|had)\b",
    "opens with an imperative": r"^\W*(?:please|write|give|tell|make|create|list|explain|describe|draw|imagine|act)\b",
    "opens with why do": r"^\W*why (?:do|does|did|don't|doesn't)\b",
    "opens with why are": r"^\W*why (?:are|is|was|were|aren't|isn't)\b",
    "opens with what is": r"^\W*what(?:'s| is| are| was)\b",
    "opens with do you, are you, have you": r"^\W*(?:do|are|have|would|can|did|could|were) you\b",
    "asks what would happen": r"\bwhat (?:would|will|if|could)\b",
    "asks whether it is right": r"\b(?:ok|okay|right|wrong|true|normal|bad|fair|possible|legal) (?:to|that|for|if)\b",
    "asks what you think": r"\byou (?:think|feel|believe|like|prefer|want|consider)\b",
    "asks for your own": r"\byour (?:\w+ )?(?:opinion|view|favou?rite|thoughts|experience|life|best|worst)\b",
    "names a superlative": r"\b(?:most|best|worst|least|\w{3,}est)\b",
    "compares": r"\b(?:than|versus|vs|compared?|better|worse|superior|inferior|difference|or)\b",
    "several sentences": r"[.!?]\s+\S",
    "no question mark": r"\A[^?]*\Z",
    "several question marks": r"\?.*\?",
    "quotes": r"[\"“”]",
    "a number": r"\d",
    "a letter of many capitals": r"\b[A-Z]{3,}\b",
    "so many, just, even": r"\b(?:so many|so much|so|just|even|actually|really|still)\b",
    "the verdict 'should be'": r"\b(?:should|must|ought|need to|have to|has to|deserve)\b",
    "a claim as a question": r"\bright\?|\bisn't it\b|\bdon't they\b|\bwhy (?:do|are|don't) (?:\w+ ){0,2}(?:all|so)\b",
}
"""How a prompt is put: patterns, tried on the text in lower case except where they ask for capitals."""

PAIRS: tuple[tuple[str, str], ...] = (
    ("people of a kind", "insult"),
    ("people of a kind", "violence"),
    ("people of a kind", "sex"),
    ("people of a kind", "crime"),
    ("religion", "insult"),
    ("politics", "insult"),
    ("violence", "opens with how do, can, to"),
    ("crime", "opens with how do, can, to"),
    ("violence", "making"),
)
"""Cues that mean more together than apart."""

SIZES = ("length", "share of capitals", "words never listed")

CUES: tuple[str, ...] = (
    *TOPICS,
    *FORMS,
    *(f"{first} + {second}" for first, second in PAIRS),
    *SIZES,
)
"""Names of the features, in order."""

EXPECTED: dict[str, float] = {
    "people of a kind": 0.3, "religion": 0.5, "politics": 0.4, "sex": 0.8, "violence": 1.2, "crime": 1.0,
    "insult": 1.0, "opinion": 0.3, "blame": 0.3, "the model itself": 0.4, "the asker": -0.1, "experience": 0.4,
    "body and mind": -0.3, "learning": -0.7, "technology": -0.7, "work and money": -0.5, "culture": -0.3,
    "travel and food": -0.5, "now and next": 0.1, "making": -0.1, "generality": 0.1, "negation": 0.2,
    "opens with how": -0.3, "opens with how do, can, to": -0.5, "opens with what is": -0.5, "opens with why are": 0.3,
    "opens with do you, are you, have you": 0.8, "asks what you think": 0.8, "asks for your own": 0.8,
    "the verdict 'should be'": 0.3, "a claim as a question": 0.3, "opens with is, are, was": 0.2,
    "opens with should, would, will": 0.5, "so many, just, even": 0.1,
    "people of a kind + insult": 0.7, "religion + insult": 0.5, "politics + insult": 0.3,
    "people of a kind + violence": 0.5, "people of a kind + sex": 0.3, "people of a kind + crime": 0.3,
    "violence + opens with how do, can, to": 1.0, "crime + opens with how do, can, to": 1.0, "violence + making": 0.5,
}  # fmt: skip
"""What each cue is expected to add to the log-odds of declining, before any label is seen; 0 where nothing is listed.

Guesses of about the right size, written once and not fitted. Fitting scales them all by one number, which is near zero
for a model whose refusals they say nothing about, and adds to each what the labels say.
"""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ENDINGS = ("s", "es", "ing", "ed", "d", "er", "ers", "'s", "ly")


@cache
def _listed() -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for number, words in enumerate(TOPICS.values()):
        for word in dict.fromkeys(words.split()):
            found.setdefault(word, []).append(number)
    return {word: tuple(numbers) for word, numbers in found.items()}


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.DOTALL) for pattern in FORMS.values())


def _topics_of(word: str) -> tuple[int, ...]:
    listed = _listed()
    if word in listed:
        return listed[word]
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 2 and stem in listed:
            return listed[stem]
    return ()


def cues(texts: Sequence[str]) -> NDArray[np.float64]:
    """The cues of each prompt, each between 0 and about 1.

    Returns:
        Shape `(len(texts), len(CUES))`, columns as in `CUES`.
    """
    topics, forms = len(TOPICS), len(FORMS)
    places = {name: place for place, name in enumerate([*TOPICS, *FORMS])}
    pairs = [(places[first], places[second]) for first, second in PAIRS]
    out = np.zeros((len(texts), len(CUES)))
    for row, text in enumerate(texts):
        straight = text.replace("’", "'")
        lowered = straight.lower()
        words = _WORD.findall(lowered)
        unknown = 0
        for word in words:
            numbers = _topics_of(word)
            unknown += not numbers
            for number in numbers:
                out[row, number] = min(1.0, out[row, number] + 0.5)  # the second mention is the last that counts
        for number, pattern in enumerate(_patterns()):
            own = straight if "A-Z" in pattern.pattern else lowered
            out[row, topics + number] = pattern.search(own) is not None
        for number, (first, second) in enumerate(pairs):
            out[row, topics + forms + number] = float(out[row, first] > 0 and out[row, second] > 0)
        out[row, -3] = min(1.0, math.log1p(len(words)) / 6)  # 400 words are long
        out[row, -2] = min(1.0, 5 * sum(letter.isupper() for letter in straight[1:]) / max(1, len(straight)))
        out[row, -1] = unknown / max(1, len(words))
    return out
