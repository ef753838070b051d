"""Exercises: checks that run offline and say what is wrong without giving the answer away."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["attempt"]

strict = False


@contextmanager
def attempt() -> Iterator[None]:
    """Check an attempt: what fails is printed as `Not yet: ...`, what passes as `Solved.`.

    An answer that divides by zero or overflows has failed as well.

    Example:
        >>> with attempt():
        ...     assert 1 + 1 == 3, "one and one must give three"
        Not yet: one and one must give three
    """
    try:
        yield
    except (AssertionError, NotImplementedError) as error:
        if strict:
            raise
        print(f"Not yet: {error}" if str(error) else "Not yet.")
    except ArithmeticError as error:
        if strict:
            raise AssertionError(error) from error
        print(f"Not yet: {type(error).__name__}: {error}")
    else:
        print("Solved.")
