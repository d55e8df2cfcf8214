# SPDX-License-Identifier: Apache-2.0
"""What the made-up talker can say: words in ARPAbet, a text for films, one for samples, and sentences without end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

PAUSES = {",": (0.14, 0.22), ".": (0.30, 0.50)}  # seconds, shortest and longest

WORDS = {
    "a": "AH", "am": "AE M", "and": "AE N D", "animals": "AE N AH M AH L Z", "apple": "AE P AH L", "be": "B IY",
    "before": "B IY F AO R", "big": "B IH G", "blue": "B L UW", "boat": "B OW T", "book": "B UH K", "boys": "B OY Z",
    "bread": "B R EH D", "brings": "B R IH NG Z", "brown": "B R AW N", "buys": "B AY Z", "can": "K AE N",
    "children": "CH IH L D R AH N", "come": "K AH M", "computer": "K AH M P Y UW T ER", "day": "D EY",
    "every": "EH V R IY", "eyes": "AY Z", "face": "F EY S", "family": "F AE M AH L IY", "farmer": "F AA R M ER",
    "filmed": "F IH L M D", "fish": "F IH SH", "five": "F AY V", "follows": "F AA L OW Z", "found": "F AW N D",
    "four": "F AO R", "from": "F R AH M", "garden": "G AA R D AH N", "gives": "G IH V Z", "good": "G UH D",
    "green": "G R IY N", "happy": "HH AE P IY", "has": "HH AE Z", "head": "HH EH D", "hears": "HH IH R Z",
    "heavy": "HH EH V IY", "hello": "HH EH L OW", "house": "HH AW S", "i": "AY", "in": "IH N", "is": "IH Z",
    "it": "IH T",
    "judge": "JH AH JH", "keeps": "K IY P S", "knows": "N OW Z", "lamp": "L AE M P", "laptop": "L AE P T AA P",
    "learn": "L ER N", "learned": "L ER N D", "likes": "L AY K S", "list": "L IH S T", "little": "L IH T AH L",
    "loves": "L AH V Z", "made": "M EY D", "makes": "M EY K S", "may": "M EY", "maybe": "M EY B IY", "me": "M IY",
    "measure": "M EH ZH ER", "mirror": "M IH R ER", "model": "M AA D AH L", "moment": "M OW M AH N T", "moon": "M UW N",
    "morning": "M AO R N IH NG", "moves": "M UW V Z", "mouth": "M AW TH", "music": "M Y UW Z IH K", "my": "M AY",
    "never": "N EH V ER", "new": "N UW", "nobody": "N OW B AA D IY", "now": "N AW", "numbers": "N AH M B ER Z",
    "of": "AH V", "old": "OW L D", "on": "AA N", "open": "OW P AH N", "paints": "P EY N T S", "paper": "P EY P ER",
    "people": "P IY P AH L", "pepper": "P EH P ER", "picture": "P IH K CH ER", "program": "P R OW G R AE M",
    "puts": "P UH T S", "put": "P UH T", "rain": "R EY N", "river": "R IH V ER", "said": "S EH D", "same": "S EY M",
    "sea": "S IY", "sees": "S IY Z", "sentence": "S EH N T AH N S", "shape": "SH EY P", "she": "SH IY",
    "shoes": "SH UW Z",
    "slow": "S L OW", "small": "S M AO L", "sounds": "S AW N D Z", "speak": "S P IY K", "spoon": "S P UW N",
    "street": "S T R IY T", "sugar": "SH UH G ER", "summer": "S AH M ER", "takes": "T EY K S", "talk": "T AO K",
    "that": "DH AE T", "the": "DH AH", "they": "DH EY", "this": "DH IH S", "to": "T UW", "too": "T UW",
    "train": "T R EY N", "turn": "T ER N", "under": "AH N D ER", "up": "AH P", "us": "AH S", "very": "V EH R IY",
    "village": "V IH L IH JH", "visits": "V IH Z IH T S", "voice": "V OY S", "warm": "W AO R M", "wash": "W AA SH",
    "watch": "W AA CH", "water": "W AO T ER", "we": "W IY", "white": "W AY T", "who": "HH UW", "wide": "W AY D",
    "will": "W IH L", "window": "W IH N D OW", "with": "W IH TH", "words": "W ER D Z", "yellow": "Y EH L OW",
    "you": "Y UW",
    "your": "Y AO R", "young": "Y AH NG", "zebra": "Z IY B R AH",
}  # fmt: skip

FILM_TEXT = (
    "hello , i am made up of numbers . nobody filmed me . my voice and my face come from the same list of sounds . "
    "watch my mouth open wide . you can train a small model on me , and maybe it will speak too . who knows . "
    "good morning blue moon . she has five pepper shoes ."
)
SAMPLE_TEXT = (
    "this is a new sentence . nobody said it before . the model learned my face from numbers , "
    "and now my voice moves it . put your words in , and watch . every moment may be a picture that nobody filmed ."
)

# words of one slot that belong together are joined by a bar
_WHO = (
    "she", "nobody", "they", "we", "the|farmer", "the|judge", "the|children", "my|family", "the|boys", "young|people",
)  # fmt: skip
_DOES = (
    "likes", "sees", "makes", "brings", "follows", "paints", "keeps", "visits", "buys", "loves", "hears", "moves",
    "puts", "takes", "gives",
)  # fmt: skip
_HOW = (
    "small", "big", "blue", "brown", "green", "happy", "heavy", "old", "warm", "white", "yellow", "little", "new",
    "slow",
)  # fmt: skip
_WHAT = (
    "apple", "boat", "book", "bread", "fish", "garden", "house", "lamp", "laptop", "mirror", "moon", "paper", "spoon",
    "village", "zebra", "window", "picture",
)  # fmt: skip
_WHERE = (
    "on|the|street", "in|the|sea", "under|the|moon", "in|the|morning", "with|sugar", "before|summer", "with|us",
    "in|the|rain",
)  # fmt: skip


def words(text: str, rng: np.random.Generator) -> Iterator[str]:
    """The words and pauses of `text`, then sentences by chance without end."""
    yield from text.split()
    while True:
        who, does, how, what, where = (pool[rng.integers(len(pool))] for pool in (_WHO, _DOES, _HOW, _WHAT, _WHERE))
        yield from who.split("|")
        yield from (does, "the", how, what)
        if rng.random() < 0.6:
            yield from where.split("|")
        yield "."
