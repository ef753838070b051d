from tests.mutants.machine import bugs

SMALL = "test_an_error_that_is_small_or_stands_aside_is_found"
PLANTED = "test_planted_error_is_found_with_its_line"
SHOWS = "test_focal_as_the_docstring_shows_it"
COUNTS = "test_command_prints_what_was_compared"
BUGS = bugs(
    "lossbook.book.runs.formula",
    "tests/book/test_formula.py",
    [
        ("one item", "items[::step] if not", "items[:1] if not", COUNTS),
        (
            "one draw",
            "ITEMS, DRAWS, TOLERANCE, FLOOR = 6, 2,",
            "ITEMS, DRAWS, TOLERANCE, FLOOR = 6, 1,",
            COUNTS,
        ),
        ("four digits", "1e-9, 1e-3", "1e-4, 1e-3", SMALL),
        (
            "nan passes",
            "if not np.all(error <= TOLERANCE):",
            "if np.any(error > TOLERANCE):",
            SMALL,
        ),
        (
            "one number of many",
            "if not np.all(error",
            "if not np.any(error",
            "test_one_wrong_number_of_a_vector_is_found",
        ),
        ("any shape", "if np.shape(ours) != np.shape(theirs):", "if False:", SMALL),
        ("nothing compared is a pass", "    if not compared:\n", "    if False:\n", SMALL),
        (
            "the first of equal members",
            "                for member in members:\n",
            "                for member in members[:1]:\n",
            SMALL,
        ),
        (
            "the first class alone",
            "for places in itertools.product(*ranges):",
            "for places in [*itertools.product(*ranges)][:1]:",
            SMALL,
        ),
        (
            "the gradient is ignored",
            "                else:\n                    formulas.append(",
            "                elif wanted.symbol is None:\n                    formulas.append(",
            SHOWS,
        ),
        (
            "the loss is ignored",
            "                else:\n                    formulas.append(",
            "                elif wanted.symbol is not None:\n                    formulas.append(",
            SHOWS,
        ),
        (
            "the first display alone",
            "in text.displays:\n            for statement",
            "in text.displays[:1]:\n            for statement",
            SHOWS,
        ),
        (
            "a text without a formula in it",
            "results += compared(text, case, chapter.path)",
            "pass",
            SHOWS,
        ),
        (
            "the whole chapter",
            'r"^## In short\\n(.*?)(?=^## |\\Z)"',
            'r"^## In short\\n(.*)"',
            SHOWS,
        ),
        (
            "what is no equation is left out",
            'raise FormulaError("expected an equation", place_of(left))',
            "continue",
            PLANTED,
        ),
        (
            "a display without symbols is left out",
            "            raise ChapterError(chapter.path, line, message)\n    return found",
            "            continue\n    return found",
            PLANTED,
        ),
        (
            "a gradient by what gets none is 0",
            'gets no gradient")\n        of',
            'gets no gradient") if False else SkipError\n        of',
            PLANTED,
        ),
        (
            "on another line",
            'text.count("\\n", 0, section.start(1) + match.start()) + 1',
            'text.count("\\n", 0, match.start()) + 1',
            PLANTED,
        ),
        ("forms that are none are left out", "if wanted_forms - forms:", "if False:", PLANTED),
        ("what is wrong is no failure", "            wrong += 1\n", "", COUNTS),
    ],
)
