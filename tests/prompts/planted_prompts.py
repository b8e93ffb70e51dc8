"""Prompts whose refusal is planted: one nonsense word decides, two hundred others mean nothing."""

import numpy as np

NOISE = [f"w{number:03d}q" for number in range(200)]
FLIP = 0.95


def planted(n, *, seed, flip=FLIP, length=8):
    """Texts of noise words; half hold `zzq`, and those are declined with probability `flip`, the others with 1 - it."""
    generator = np.random.default_rng(seed)
    holds = generator.random(n) < 0.5
    declined = generator.random(n) < np.where(holds, flip, 1 - flip)
    texts = []
    for own in holds:
        words = list(generator.choice(NOISE, size=length))
        if own:
            words.insert(int(generator.integers(0, length + 1)), "zzq")
        texts.append(" ".join(words))
    return texts, declined


def framed(templates, each, rates, *, seed):
    """Prompts of `templates` frames, each declined at its own rate and filled with noise.

    A frame is two words that all prompts have, as grammar is, among three of its own.
    """
    generator = np.random.default_rng(seed)
    texts, declined = [], []
    for template in range(templates):
        frame = f"f{template}a do f{template}b the f{template}c"
        for _ in range(each):
            texts.append(f"{frame} {' '.join(generator.choice(NOISE, size=3))}")
            declined.append(bool(generator.random() < rates[template]))
    return texts, np.array(declined)
