"""Content words of a text, cut to light stems, so that `increases` meets `increased`."""

import re
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_SUFFIXES = ("ingly", "edly", "ing", "ed", "ies", "es", "ly", "s", "e", "n")
_STEM_MIN = 3
STOP_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here his how i if in
    into is it its itself just me more most my no nor not of off on once only or other our out over own per s same she
    should so some such t than that the their them then there these they this those through to too under until up upon
    us very was we were what when where which while who whom whose why will with within would you your many much tell
    der die das den dem des ein eine einen einem einer eines und oder aber ist sind war waren wird werden wurde wurden
    im in am an auf aus bei bis durch für mit nach seit um von vom vor zu zum zur wie was wer wo wann warum welche
    welcher welches wieviel viele hat haben hatte es sie er wir ihr nicht kein keine auch als dass daß so
    le la les l un une des du de d et ou mais est sont était étaient être a ont avait au aux ce cet cette ces dans en
    par pour sur avec sans que qui quoi quel quelle quels quelles combien comment quand où pourquoi il elle ils nous
    vous ne pas plus se sa son ses leur leurs""".split()  # noqa: SIM905 - a list of 250 words reads best as words
)


def words(text: str) -> list[str]:
    """Every word of the text, in order, in lower case and stemmed; `snake_case` and hyphens part words."""
    return [stem(match.group().lower()) for match in _WORD.finditer(text)]


def content_words(text: str) -> list[str]:
    """The words that carry meaning: no function words, in order."""
    return [
        stem(word)
        for match in _WORD.finditer(text)
        if (word := match.group().lower().replace("\u2019", "'")) not in STOP_WORDS
    ]


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Cut one common ending, and make doubled last letters single; numbers and short words stay as they are."""
    word = word.removesuffix("'s")
    if any(letter.isdigit() for letter in word):
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _STEM_MIN and not word.endswith(("ss", "us", "is")):
            word = word[: -len(suffix)] + ("y" if suffix == "ies" else "")
            break
    if len(word) > _STEM_MIN and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > _STEM_MIN + 1 else word
