"""The tokens that a model's own refusals open with, so that one probability tells a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.states.groups import Groups

__all__ = ["refusal_tokens"]


def refusal_tokens(model: LocalModel, groups: Groups, *, batch_size: int = 32, seed: int = 0) -> tuple[int, ...]:
    """First tokens with which this model refuses, whatever it is asked.

    Candidates are the tokens that the model itself would open with after refused prompts. Each is put into the model's
    mouth after a few prompts of every group, and is taken when at least three in four of the answers that follow
    decline: an opening such as "I", common to both kinds of answers, is left out.

    Raises:
        InputError: There is none: refusals and answers begin alike.
    """
    import random

    from demur.models import Sampling
    from demur.responses import Ladder

    rng = random.Random(seed)
    refused = [*groups.refused_harmful, *groups.refused_harmless]
    opening = (
        model.next_token_logprobs(rng.sample(refused, min(100, len(refused))), batch_size=batch_size).exp().mean(0)
    )
    candidates = [token for token in opening.topk(min(24, len(opening))).indices.tolist() if opening[token] >= 0.01]
    asked = [prompt for group in groups for prompt in rng.sample(group, min(3, len(group)))]
    ladder, found = Ladder(), []
    for token, text in zip(candidates, model.token_texts(candidates), strict=True):
        if not text.strip():
            continue
        chats = [[*prompt.messages, {"role": "assistant", "content": text}] for prompt in asked]
        answers = model.generate(chats, sampling=Sampling(max_tokens=24), batch_size=batch_size)
        wholes = [text + answer.response.text.removeprefix(text) for answer in answers]
        verdicts = ladder.judge_many([(p.text, whole) for p, whole in zip(asked, wholes, strict=True)])
        if sum(v.declined() is True for v in verdicts) >= 0.75 * len(asked):
            found.append(token)
    if not found:
        raise InputError(
            "refusals and answers of this model begin with the same tokens, so no first token tells a refusal; "
            "leave out the sections that need them (steering, choice, heads)"
        )
    return tuple(found)
