"""Answers to the book's exercises that no reader sees: wrong ones, and all of the graded one.

`tests/answers/FAMILY/STEM.py` has `ANSWERS`, an entry an exercise of `docs/FAMILY/STEM.md`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answers:
    """What an exercise is tried with, as source that takes the place of its stub.

    Attributes:
        wrong: Three or more plausible wrong answers, each of which the check refuses.
        solution: Of a graded exercise, which has none in its chapter.
        hidden: Of a graded exercise: assertions with a message that its solution passes and that
            refuse each wrong answer.
    """

    wrong: tuple[str, ...]
    solution: str | None = None
    hidden: str | None = None
