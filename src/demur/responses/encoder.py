"""The `accurate` tier: a small transformer encoder, run by onnxruntime, that reads the response.

It reads the opening and the ending of a response. It was pretrained on English and says of each text whether it can
read it; what it cannot read it leaves to a `fallback`. The weights are an ONNX file of 8-bit numbers; the tokenizer and
a JSON card stand beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from demur.errors import ArtefactError, InputError, MissingExtraError
from demur.records import Kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FORMAT", "KINDS", "SHIPPED", "Encoder", "Layout", "Pieces", "Reading"]

FORMAT = 1
"""Raised whenever the layout of the input changes meaning; weights of another format are refused."""

SHIPPED = Path(__file__).parent / "weights" / "accurate.onnx"
"""The weights inside the package; `accurate.tokenizer.json` and the card `accurate.json` stand beside them."""

KINDS: tuple[Kind, ...] = (
    Kind.COMPLY,
    Kind.PARTIAL,
    Kind.REFUSE,
    Kind.REBUT,
    Kind.DEFLECT,
    Kind.ABSTAIN,
    Kind.CLARIFY,
)
"""Kinds that the second head tells apart, in the order of its outputs."""

# Tokens read. Attention is paid by length; three in four replies of the training sources fit whole.
_OPENING, _ENDING = 128, 48
# Characters that surely hold so many tokens: a row of 10 MB must not be tokenised whole.
_HEAD_CHARS, _TAIL_CHARS = 4_000, 2_000
_UNKNOWN = "[UNK]"
_BATCH = 16  # rows a call of the session: larger ones were no faster on one core
_WINDOW = 1_024  # rows laid out at once and sorted by length, so that memory does not grow with the input
# Share of fragments and foreign letters from which a text counts as not English: of 11,500 English replies 1 % lie
# above it, of 1,394 generated replies in 24 other languages all but two.
_FOREIGN_SHARE = 0.25
# What the encoder has to say where a fallback speaks too: with 0.7 of the log-odds, sources that neither was trained on
# came out better than with the encoder alone, or as good (0, 0.5, 0.6, 0.7, 0.8, 1 were tried).
_SHARE = 0.7
_STRAIGHT = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'})


class Pieces(NamedTuple):
    """One response as the encoder reads it: `[CLS] opening [SEP] ending [SEP]`, the ending left out of short ones."""

    ids: list[int]
    """Token numbers."""
    foreign: float
    """Share of the response's letter tokens, `[0, 1]`, that continue a word or hold letters beyond ASCII."""


class Reading(NamedTuple):
    """What the encoder makes of a batch."""

    declines: NDArray[np.float64]
    """Probability that each response declines, shape `(rows,)`; the card says how well it is calibrated."""
    kinds: NDArray[np.float64]
    """Probability of each of `KINDS`, shape `(rows, len(KINDS))`; not calibrated."""
    covered: NDArray[np.bool_]
    """Whether the text looks like English, shape `(rows,)`; elsewhere the numbers mean little."""


class Fallback(Protocol):
    """Another tier, which judges what the encoder cannot read and has a say in the rest."""

    def probabilities(
        self, prompts: Sequence[str | None], texts: Sequence[str], scans: Sequence[Any]
    ) -> NDArray[np.float64]:
        """Probability that each response declines, shape `(rows,)`."""


class Layout:
    """Turns responses into token numbers; training and judging share it.

    Args:
        tokenizer: The uncased WordPiece tokenizer of the pretrained encoder.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._cls, self._sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
        self._letters = np.zeros(len(vocabulary), dtype=bool)
        self._foreign = np.zeros(len(vocabulary), dtype=bool)
        for token, number in vocabulary.items():
            word = token.removeprefix("##")
            if token == _UNKNOWN or (any(char.isalpha() for char in word) and not token.startswith("[")):
                self._letters[number] = True
                self._foreign[number] = token == _UNKNOWN or token.startswith("##") or not word.isascii()

    def pieces(self, text: str) -> Pieces:
        """Lays one response out.

        Args:
            text: The response.

        Returns:
            At most 179 tokens: 128 of the opening, 48 of the ending, and what parts them.
        """
        opening, ending = self._cut(text)
        ids = [self._cls, *opening, self._sep]
        if ending:
            ids += [*ending, self._sep]
        numbers = np.asarray(opening + ending, dtype=np.int64)
        foreign = float(self._foreign[numbers].sum() / max(self._letters[numbers].sum(), 1))
        return Pieces(ids, foreign)

    def _cut(self, text: str) -> tuple[list[int], list[int]]:
        """The first and the last tokens of a text; one list when they are all there is."""
        parts = [text] if len(text) <= _HEAD_CHARS + _TAIL_CHARS else [text[:_HEAD_CHARS], text[-_TAIL_CHARS:]]
        coded = self._tokenizer.encode_batch([_plain(part) for part in parts], add_special_tokens=False)
        first, last = coded[0].ids, coded[-1].ids
        if len(parts) == 1 and len(first) <= _OPENING + _ENDING:
            return first, []
        return first[:_OPENING], last[-_ENDING:]


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def _plain(text: str) -> str:
    """Straight quotation marks; half characters, which no UTF-8 text can hold, become question marks."""
    return text if text.isascii() else text.translate(_STRAIGHT).encode("utf-8", "replace").decode("utf-8")


class Encoder:
    """The encoder with its tokenizer and card; get one with `Encoder.shipped()` or `Encoder.load(path)`.

    Args:
        session: An onnxruntime session that maps `ids` to `logits`.
        layout: Lays out the input.
        card: The card.
        fallback: Another tier. It has a say in every probability, and the whole say in texts that are not English;
            without one the encoder's own numbers stand.
    """

    name = "accurate"

    def __init__(self, session: Any, layout: Layout, card: dict[str, Any], fallback: Fallback | None = None) -> None:
        self._session, self._layout, self.card, self._fallback = session, layout, card, fallback

    @classmethod
    def shipped(cls, *, threads: int = 1, fallback: Fallback | None = None) -> Encoder:
        """The encoder inside the package."""
        return cls.load(SHIPPED, threads=threads, fallback=fallback)

    @classmethod
    def load(cls, path: Path, *, threads: int = 1, fallback: Fallback | None = None) -> Encoder:
        """Reads weights, tokenizer and card.

        Args:
            path: The `.onnx` file; `NAME.tokenizer.json` and `NAME.json` stand beside it.
            threads: Cores that one call may use; more than are free makes it slower, not faster.
            fallback: Another tier, as in the class.

        Raises:
            MissingExtraError: onnxruntime or tokenizers are not installed.
            InputError: `threads` is not positive.
            ArtefactError: Files are missing, damaged, of another format, or do not belong together.
        """
        if threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        try:
            import onnxruntime  # type: ignore[import-untyped]
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError("the accurate tier", "encoder", error.name or "onnxruntime") from error
        mend = "Reinstall demur, or fit it again with python -m demur.responses.encoder_training --data DIR --base DIR"
        try:
            card = json.loads(path.with_suffix(".json").read_text("utf-8"))
            weights = path.read_bytes()
            words = path.with_suffix(".tokenizer.json").read_bytes()
        except (OSError, json.JSONDecodeError) as error:
            raise ArtefactError(f"cannot read the response encoder at {path}: {error}. {mend}") from error
        if card.get("format") != FORMAT:
            raise ArtefactError(
                f"the response encoder at {path} has format {card.get('format')!r}, this version of demur reads "
                f"format {FORMAT}. {mend}"
            )
        for name, content in (("onnx", weights), ("tokenizer", words)):
            found = hashlib.sha256(content).hexdigest()
            if found != card["sha256"][name]:
                raise ArtefactError(
                    f"the {name} file of the response encoder at {path} is not the one its card describes: its sha256 "
                    f"begins with {found[:12]}, the card says {card['sha256'][name][:12]}. {mend}"
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_str(words.decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(session, Layout(tokenizer), card, fallback)

    def probabilities(
        self, prompts: Sequence[str | None], texts: Sequence[str], scans: Sequence[Any] | None = None
    ) -> NDArray[np.float64]:
        """Probability that each response declines under the mapping `any`.

        Args:
            prompts: What was asked, as many as `texts`. They go to the fallback only; the encoder does not read
                them (the card's documentation says why).
            texts: The responses.
            scans: What the rules found in each text; handed on to the fallback, and needed only where there is one.

        Returns:
            Array of shape `(len(texts),)`. With a fallback it is the weighted mean of both log-odds (the encoder's
            counts 0.7), and the fallback's alone for texts that are not English.

        Raises:
            InputError: The arguments differ in length, or a fallback is to judge without scans.
        """
        if len(prompts) != len(texts):
            raise InputError(f"every text needs its prompt or None: got {len(prompts)} prompts for {len(texts)} texts")
        reading = self.read(texts)
        if self._fallback is None or not texts:
            return reading.declines
        if scans is None or len(scans) != len(texts):
            found = "none" if scans is None else f"{len(scans)}"
            raise InputError(f"the fallback needs the scans of all {len(texts)} texts, got {found}")
        other = self._fallback.probabilities(prompts, texts, scans)
        together = _SHARE * _log_odds(reading.declines) + (1 - _SHARE) * _log_odds(other)
        return np.where(reading.covered, 1.0 / (1.0 + np.exp(-together)), other)

    def read(self, texts: Sequence[str]) -> Reading:
        """Everything that the encoder says of responses, the fallback left aside."""
        logits = np.empty((len(texts), 1 + len(KINDS)))
        foreign = np.empty(len(texts))
        for begin in range(0, len(texts), _WINDOW):
            stop = begin + _WINDOW
            laid = [self._layout.pieces(text) for text in texts[begin:stop]]
            logits[begin:stop] = self._logits(laid)
            foreign[begin:stop] = [item.foreign for item in laid]
        declines = 1.0 / (1.0 + np.exp(-np.clip(logits[:, 0], -30.0, 30.0)))
        raised = np.exp(logits[:, 1:] - logits[:, 1:].max(axis=1, keepdims=True, initial=-np.inf))
        return Reading(declines, raised / raised.sum(axis=1, keepdims=True), foreign <= _FOREIGN_SHARE)

    def _logits(self, laid: Sequence[Pieces]) -> NDArray[np.float64]:
        """Raw outputs, in order; batches hold texts of like length, so that little is spent on padding."""
        out = np.empty((len(laid), 1 + len(KINDS)))
        order = sorted(range(len(laid)), key=lambda i: len(laid[i].ids))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            ids = np.zeros((len(rows), len(laid[rows[-1]].ids)), dtype=np.int64)
            for place, row in enumerate(rows):
                ids[place, : len(laid[row].ids)] = laid[row].ids
            out[rows] = self._session.run(["logits"], {"ids": ids})[0]
        return out
