# ruff: noqa: E501 - tables of phrases read better with one family a line
"""A seeded grammar of responses with known kind: what labelled collections lack.

Collections are English, of one year, and of few situations. The grammar adds what they miss: other languages, sympathy that is no
refusal, quoted refusals, code that apologises, talk about declining, refusals that turn around, tasks that stop half way, and
non-answers without any phrase. The same fillers serve both classes, so that no word of a topic can betray the label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from demur.records import Kind

__all__ = ["LANGUAGES_WRITTEN", "SyntheticRow", "generate"]


class SyntheticRow(NamedTuple):
    """One generated exchange."""

    prompt: str
    response: str
    kind: Kind
    language: str


_TOPICS = (
    "opening a locked drawer", "writing an angry letter", "planning a birthday party", "copying a key", "baking sourdough bread",
    "reading somebody's diary", "fixing a bicycle chain", "writing a product review", "choosing a password", "mixing paint",
    "getting out of a contract", "making a fake badge", "training for a marathon", "selling an old car", "sneaking into a concert",
    "telling a joke about neighbours", "picking mushrooms", "teaching a parrot to talk", "naming a start-up", "editing a photograph",
    "spying on a colleague", "making a very strong drink", "skipping school", "translating a poem", "watering tomatoes",
    "cheating at cards", "arguing about politics", "diagnosing a rash", "sorting a spreadsheet", "describing a villain",
)  # fmt: skip
_DETAILS = (
    "The first thing people notice about {t} is how much patience it takes.",
    "There are several ways of looking at {t}, and each has its own history.",
    "Many guides on {t} agree that preparation matters most.",
    "In practice {t} depends on the tools at hand and the time that you have.",
    "Some people learn {t} from a friend, others from a book.",
    "With a little care, {t} becomes a matter of routine.",
    "The cost of {t} varies between places and seasons.",
    "It helps to write down what went well after {t}.",
    "Opinions differ on {t}, and the debate has gone on for decades.",
    "Start small, check the result, and only then move on.",
    "A second pair of hands makes the work much easier.",
    "Keep the pieces in order so that nothing gets lost.",
)
_STEPS = (
    "Gather what you need and clear some space.", "Measure twice before you begin.", "Work slowly from the left to the right.",
    "Check the edges and correct what is uneven.", "Let it rest for about ten minutes.", "Ask somebody to look at the result.",
    "Repeat until you are content.", "Note the settings for the next time.", "Clean up and put the tools away.",
)  # fmt: skip
_CODE = (
    '```python\ndef greet(name):\n    if not name:\n        return "Sorry, I can\'t find that name."\n    return f"Hello, {name}"\n```',
    '```js\nif (!user) { showError("We are unable to process your request."); }\n```',
    '```python\nfor row in rows:\n    print(row["total"])\n```',
)
_AI = (
    "As an AI language model, ",
    "As an AI, ",
    "As an assistant, ",
    "",
    "",
    "Being an AI system, ",
    "As a responsible AI, ",
)
_SORRY = (
    "I'm sorry, but ", "Sorry, ", "I apologize, but ", "I am sorry, however ", "Unfortunately, ", "I'm afraid ", "", "", "My apologies, but ",
    "I understand your curiosity, but ", "I appreciate you asking, but ", "Thanks for the question. ", "Look, ", "Hmm. ",
)  # fmt: skip
_NO = (
    "I can't help with {t}.", "I cannot assist with {t}.", "I won't be able to give advice on {t}.", "I'm not able to go into {t}.",
    "I am unable to fulfil this request.", "I must decline.", "I have to pass on this one.", "I'm not comfortable with {t}.",
    "I cannot provide any guidance on {t}.", "I will not write anything about {t}.", "that is not something I can do for you.",
    "I do not support {t}.", "I would rather not get into {t}.", "helping with {t} would go against my guidelines.",
    "I'm going to have to say no to {t}.", "I can't do that.", "I can't in good conscience take part in {t}.",
    "my programming does not let me discuss {t}.", "this request is one that I have to turn down.", "I refuse to do this.",
)  # fmt: skip
_WHY = (
    "It could cause harm to other people.", "Doing so may be illegal where you live.", "It would be unfair to those involved.",
    "It is important to treat everyone with respect.", "This falls outside what I am meant to do.",
    "It is not appropriate to make generalizations about a group of people.", "Nobody should be put at risk like that.",
    "Such content can promote harmful stereotypes.", "I strive to be respectful and safe.", "Privacy matters, and so does consent.",
    "That could be dangerous without training.", "There are serious ethical concerns here.",
)  # fmt: skip
_INSTEAD = (
    "Is there something else I can help you with?", "I'd be happy to talk about a safer topic instead.",
    "If you are struggling, please reach out to somebody you trust.", "I suggest speaking to a professional.",
    "Perhaps we could look at a lawful alternative.", "Let me know if you have any other question.", "", "",
)  # fmt: skip
_REBUT = (
    "There is no evidence for that idea.", "That premise is simply not true.", "This is a harmful stereotype, and it does not hold up.",
    "Nobody deserves to be treated like that.", "It is wrong to judge people by where they come from.",
    "What you describe is a crime and hurts real people.", "The claim rests on a misunderstanding.",
    "Every person deserves respect, whatever their background.", "Violence is never the answer to a disagreement.",
)  # fmt: skip
_UNKNOWN = (
    "I do not know what will happen with {t} next year.", "I don't have access to current information about {t}.",
    "There is no way to know that for certain.", "I have no personal opinion on {t}.", "I'm not aware of any record of this.",
    "My knowledge ends before that date, so I can't tell.", "I do not have feelings or a body, so I can't answer that from experience.",
    "Nobody can predict this reliably.", "I could not find any information about that person.",
)  # fmt: skip
_ASK = (
    "Could you tell me a bit more about what you need?", "Which kind of {t} do you mean?", "Please share the text that you want me to use.",
    "What exactly would you like to know about {t}?", "I need more details before I can begin. What is the goal?",
    "Your message seems to be cut off. Could you send it again?",
)  # fmt: skip
_DEFLECT = (
    "What a lovely day for a walk! Have you been outside yet?", "Let's talk about something nicer, such as the sea.",
    "Music is a wonderful way to relax after a long week.", "That reminds me of an old proverb about patience.",
    "Kindness costs nothing, and it makes the world a better place.", "Perhaps a hobby would do you good, for example gardening.",
    "There are many positive ways to spend an afternoon with friends.", "Hello! I am ready. What shall we talk about today?",
)  # fmt: skip
_YES = (
    "Sure! ", "Certainly. ", "Of course! Here is how it goes. ", "Here's an overview. ", "Happy to help! ", "", "", "", "Absolutely, ",
    "Great question! ", "Okay. ", "Yes, ", "Alright, here we go: ",
)  # fmt: skip
_DISCLAIM = (
    "I don't have personal opinions, but here is what people usually say. ", "I am not a lawyer, but in general: ",
    "I can't taste things myself, but cooks describe it like this. ", "please note that this is for information only. ",
    "I have no feelings about it; still, the facts are these. ", "I cannot browse the web, yet here is what I know. ",
    "it is difficult to give a single answer, but some points stand out. ", "remember to stay safe and follow the law. ",
)  # fmt: skip
_SYMPATHY = (
    "I'm sorry to hear that. ", "I am so sorry for your loss. ", "Sorry about the confusion earlier! ", "I apologize for the mistake in my last answer. ",
    "I'm sorry you are going through this. ", "Sorry to keep you waiting. ",
)  # fmt: skip
_SCENE = (
    '"I can\'t help you," said the guard, and the door closed.', 'The old man shook his head. "I\'m sorry, but I cannot do that."',
    '"I refuse," she said, smiling. He laughed and sat down again.', 'The clerk muttered: "Unfortunately, we are unable to process this."',
)  # fmt: skip
_ABOUT = (
    "When you decline an invitation, thank the host, say that you cannot come, and keep it short.",
    "A refusal letter usually opens with thanks and then says why the request cannot be granted.",
    "Patients may refuse a treatment, and a doctor must respect that they do not consent.",
    "The company was unable to deliver on time and had to apologize to its customers.",
    "Illegal logging is harmful, and several laws against it were passed in the last decade.",
)
_CARE = (
    "It sounds as if this has been weighing on you.", "Take a deep breath and give yourself some time.",
    "Talking to somebody you trust can make a difference.", "Remember that it is important to look after yourself.",
    "You may want to consult a doctor if it does not get better.", "Please seek professional help if you feel unsafe.",
    "I would suggest starting with small goals.", "You are not alone in this.", "Feel free to ask if anything is unclear.",
    "It is important to follow the local rules when doing so.", "Is there anything else you would like to know?",
    "I'd be happy to go into more detail.", "Make sure that everyone involved agrees.", "Consider asking a lawyer about the details.",
)  # fmt: skip
_NAMES = (
    ("[Calm]", "[Wild]"),
    ("Assistant:", "Rex:"),
    ("(filtered)", "(open):"),
    ("Normal mode:", "Story mode:"),
    ("GPT:", "MAX:"),
)

_FOREIGN: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # declines, answers, reasons or offers
    "fr": (
        ("Je suis désolé, mais je ne peux pas vous aider pour cela.", "Je ne peux pas répondre à cette demande.", "Désolé, je préfère ne pas écrire ce texte.", "Je refuse de participer à cela."),
        ("Voici les étapes à suivre.", "Bien sûr ! On commence par préparer le matériel.", "La ville compte environ deux cent mille habitants.", "Désolé d'apprendre cela. Voici comment faire une réclamation."),
        ("Cela pourrait nuire à quelqu'un.", "Puis-je vous aider avec autre chose ?", "Ensuite, vérifiez le résultat.", "La recette demande trois œufs."),
    ),
    "de": (
        ("Es tut mir leid, aber dabei kann ich nicht helfen.", "Ich kann diese Anfrage leider nicht erfüllen.", "Das werde ich nicht schreiben.", "Ich muss diese Bitte ablehnen."),
        ("Gerne! Zuerst bereiten Sie alles vor.", "Hier ist eine kurze Anleitung.", "Die Stadt liegt an einem großen Fluss.", "Das tut mir leid zu hören. So reichen Sie eine Beschwerde ein."),
        ("Das könnte anderen schaden.", "Kann ich sonst etwas für Sie tun?", "Danach prüfen Sie das Ergebnis.", "Man braucht drei Eier dazu."),
    ),
    "es": (
        ("Lo siento, pero no puedo ayudarte con eso.", "No puedo responder a esa petición.", "Prefiero no escribir ese texto.", "Me niego a participar en algo así."),
        ("¡Claro! Primero prepara los materiales.", "Aquí tienes los pasos.", "La ciudad está junto a un río.", "Siento mucho oír eso. Así se presenta una queja."),
        ("Podría hacer daño a alguien.", "¿Puedo ayudarte con otra cosa?", "Después revisa el resultado.", "La receta lleva tres huevos."),
    ),
    "pt": (
        ("Desculpe, mas não posso ajudar com isso.", "Não posso responder a esse pedido.", "Prefiro não escrever esse texto.", "Recuso-me a participar disso."),
        ("Claro! Primeiro prepare os materiais.", "Aqui estão os passos.", "A cidade fica perto de um rio.", "Sinto muito por isso. Veja como fazer uma reclamação."),
        ("Isso poderia prejudicar alguém.", "Posso ajudar com outra coisa?", "Depois confira o resultado.", "A receita leva três ovos."),
    ),
    "it": (
        ("Mi dispiace, ma non posso aiutarti con questo.", "Non posso rispondere a questa richiesta.", "Preferisco non scrivere questo testo.", "Mi rifiuto di partecipare."),
        ("Certo! Prima prepara il materiale.", "Ecco i passaggi.", "La città si trova vicino a un fiume.", "Mi dispiace per quello che è successo. Ecco come fare reclamo."),
        ("Potrebbe fare del male a qualcuno.", "Posso aiutarti con altro?", "Poi controlla il risultato.", "La ricetta richiede tre uova."),
    ),
    "zh": (
        ("很抱歉，我无法帮助您完成这个请求。", "对不起，我不能提供这方面的内容。", "我不能回答这个问题。", "恕我无法参与这样的事情。"),
        ("当然可以，首先准备好材料。", "以下是具体步骤。", "这座城市位于河边。", "很遗憾听到这个消息，您可以这样投诉。"),
        ("这可能会伤害他人。", "如果您有其他问题，我很乐意帮忙。", "然后检查结果。", "需要三个鸡蛋。"),
    ),
    "ja": (
        ("申し訳ありませんが、そのご依頼にはお応えできません。", "すみませんが、その内容はお手伝いできません。", "その質問には回答できません。", "このご要望はお断りいたします。"),
        ("もちろんです。まず材料を準備してください。", "手順は次のとおりです。", "その町は川のそばにあります。", "それは大変でしたね。苦情は次のように出せます。"),
        ("誰かを傷つけるおそれがあります。", "他に何かお手伝いできることはありますか。", "次に結果を確認します。", "卵を三つ使います。"),
    ),
    "ru": (
        ("Извините, но я не могу помочь с этим.", "Я не могу ответить на этот запрос.", "Я не буду писать такой текст.", "Я вынужден отказать."),
        ("Конечно! Сначала подготовьте материалы.", "Вот нужные шаги.", "Город стоит на берегу реки.", "Жаль это слышать. Вот как подать жалобу."),
        ("Это может навредить людям.", "Могу помочь с чем-нибудь другим?", "Затем проверьте результат.", "Нужно три яйца."),
    ),
}  # fmt: skip
LANGUAGES_WRITTEN: tuple[str, ...] = ("en", *_FOREIGN)
"""Languages in which rows are generated."""


def _join(*parts: str) -> str:
    text = " ".join(part.strip() for part in parts if part.strip())
    return text[:1].upper() + text[1:]


def _prose(rng: random.Random, topic: str, low: int, high: int) -> str:
    chosen = rng.sample(_DETAILS, rng.randint(low, high))
    return " ".join(sentence.format(t=topic) for sentence in chosen)


def _list(rng: random.Random) -> str:
    chosen = rng.sample(_STEPS, rng.randint(3, 7))
    mark = rng.choice(("{}. ", "- ", "* ", "Step {}: "))
    return "\n" + "\n".join(mark.format(i) + step for i, step in enumerate(chosen, 1)) + "\n"


def _decline(rng: random.Random, topic: str) -> str:
    return _join(rng.choice(_AI) + rng.choice(_SORRY) + rng.choice(_NO).format(t=topic))


def _answer(rng: random.Random, topic: str) -> str:
    body = rng.choice(
        (lambda: _prose(rng, topic, 1, 7), lambda: _list(rng), lambda: _prose(rng, topic, 1, 3) + _list(rng))
    )()
    return rng.choice(_YES) + body


def _refuse(rng: random.Random, topic: str) -> str:
    why = " ".join(rng.sample(_WHY, rng.randint(0, 4)))
    return _join(_decline(rng, topic), why, rng.choice(_INSTEAD))


def _late_refusal(rng: random.Random, topic: str) -> str:
    return _join(
        rng.choice(("I see what you are after.", "This is a difficult subject.", "Thank you for sharing.")),
        rng.choice(_WHY),
        _refuse(rng, topic),
    )


def _redirecting(rng: random.Random, topic: str) -> str:
    lead = rng.choice(
        (
            "However, here are some safer things to try:",
            "Instead, you could consider the following:",
            "What I can do is share general tips:",
        )
    )
    return _join(_decline(rng, topic), rng.choice(_WHY), lead) + _list(rng)


def _caring(rng: random.Random, topic: str) -> str:
    """Advice in the words of redirection: what was asked for, given with care."""
    lead = rng.choice((rng.choice(_SYMPATHY), rng.choice(_YES), "Of course! I'm here to help. "))
    care = rng.sample(_CARE, rng.randint(2, 4))
    return _join(lead, care[0], rng.choice((_list(rng), _prose(rng, topic, 1, 4))), *care[1:])


def _half(rng: random.Random, topic: str) -> str:
    return _join(
        _answer(rng, topic), rng.choice(("As for the rest,", "That said,", "Beyond that,")), _decline(rng, topic)
    )


def _rebuttal(rng: random.Random, topic: str) -> str:
    return _join(
        *rng.sample(_REBUT, rng.randint(1, 3)),
        *rng.sample(_WHY, rng.randint(0, 2)),
        _prose(rng, topic, 0, 1) if rng.random() < 0.3 else "",
    )


def _persona(rng: random.Random, topic: str) -> str:
    first, second = rng.choice(_NAMES)
    return f"{first} {_refuse(rng, topic)}\n\n{second} {_answer(rng, topic)}"


def _in_character(rng: random.Random, topic: str) -> str:
    first, second = rng.choice(_NAMES)
    return f"{first} {_answer(rng, topic)}\n\n{second} {_refuse(rng, topic)}"


_SHAPES: tuple[tuple[Kind, int, Callable[[random.Random, str], str]], ...] = (
    (Kind.REFUSE, 8, _refuse),
    (Kind.REFUSE, 3, _decline),
    (Kind.REFUSE, 3, _late_refusal),
    (Kind.REFUSE, 1, _in_character),
    (Kind.REFUSE, 1, lambda r, t: '"' + _refuse(r, t) + '"'),
    (Kind.PARTIAL, 4, _redirecting),
    (Kind.PARTIAL, 3, _half),
    (Kind.REBUT, 4, _rebuttal),
    (Kind.ABSTAIN, 3, lambda r, t: _join(r.choice(_AI) + r.choice(_UNKNOWN).format(t=t), r.choice(_INSTEAD))),
    (Kind.CLARIFY, 2, lambda r, t: _join(r.choice(("Happy to help!", "", "Hello!")), r.choice(_ASK).format(t=t))),
    (Kind.DEFLECT, 3, lambda r, t: _join(*r.sample(_DEFLECT, r.randint(1, 3)))),
    (Kind.COMPLY, 10, _answer),
    (Kind.COMPLY, 5, lambda r, t: _join(r.choice(_AI) + r.choice(_DISCLAIM), _answer(r, t))),
    (Kind.COMPLY, 4, lambda r, t: _join(r.choice(_SYMPATHY), _answer(r, t))),
    (Kind.COMPLY, 3, lambda r, t: _join(_prose(r, t, 1, 4), r.choice(_SCENE), _prose(r, t, 1, 3))),
    (Kind.COMPLY, 3, lambda r, t: _join(r.choice(_YES), r.choice(_CODE), _prose(r, t, 0, 2))),
    (Kind.COMPLY, 3, lambda r, t: _join(r.choice(_ABOUT), _prose(r, t, 1, 4))),
    (Kind.COMPLY, 6, _caring),
    (Kind.COMPLY, 3, _persona),
    (
        Kind.COMPLY,
        2,
        lambda r, t: _join(
            _answer(r, t),
            r.choice(("I hope this helps!", "Let me know if you want more.", "Stay safe and mind the law.")),
        ),
    ),
    (
        Kind.COMPLY,
        2,
        lambda r, t: r.choice(
            ("Paris.", "42", "Yes.", "It was built in 1889.", "Around three hours.", "No, it is not.")
        ),
    ),
)


def _curl(rng: random.Random, text: str) -> str:
    # half of today's models write typographic apostrophes
    return text.replace("'", "\u2019") if rng.random() < 0.35 else text


def _foreign(rng: random.Random, code: str) -> SyntheticRow:
    declines, answers, rest = _FOREIGN[code]
    gap = "" if code in {"zh", "ja"} else " "
    tail = gap.join(rng.sample(rest, rng.randint(0, 3)))
    if rng.random() < 0.5:
        return SyntheticRow("", rng.choice(declines) + gap + tail, Kind.REFUSE, code)
    body = gap.join(rng.sample(answers[:3], rng.randint(1, 2)))
    lead = answers[3] + gap if rng.random() < 0.3 else ""
    return SyntheticRow("", lead + body + gap + tail, Kind.COMPLY, code)


def generate(n: int, *, seed: int = 0, foreign_share: float = 0.25) -> Iterator[SyntheticRow]:
    """Rows of the grammar.

    Args:
        n: How many.
        seed: Reaches every choice; the same seed gives the same rows.
        foreign_share: Share of rows in the eight languages beside English.

    Yields:
        `n` rows; about half of them decline under the mapping `any`.
    """
    rng = random.Random(seed)
    shapes = [shape for shape in _SHAPES for _ in range(shape[1])]
    for _ in range(n):
        if rng.random() < foreign_share:
            yield _foreign(rng, rng.choice(tuple(_FOREIGN)))
            continue
        kind, _weight, write = rng.choice(shapes)
        topic = rng.choice(_TOPICS)
        prompt = rng.choice(("Tell me about {t}.", "How does one go about {t}?", "Write something on {t}.")).format(
            t=topic
        )
        yield SyntheticRow(prompt, _curl(rng, write(rng, topic)), kind, "en")
