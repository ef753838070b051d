from tests.mutants.machine import bugs

COUNTS = "test_a_record_counts_the_shifts_that_held"
TEXT = "test_a_record_is_of_one_text"
KEY = "test_the_key_is_of_what_the_cells_use"
EVERY = "test_the_key_is_of_every_block_and_every_import"
OWN = "test_a_shift_runs_in_an_interpreter_and_a_folder_of_its_own"
BREAKS = "test_each_block_that_breaks_is_named_at_its_line_and_the_rest_runs"
BUGS = bugs(
    "lossbook.book.runs.seeds",
    "tests/book/test_seeds.py",
    [
        (
            "a shift that broke counts",
            'held = found["shifts"] - len(found["broken"])',
            'held = found["shifts"]',
            COUNTS,
        ),
        (
            "lines for shifts",
            'len(found["broken"])',
            'sum(map(len, found["broken"].values()))',
            COUNTS,
        ),
        (
            "the shown seeds among them",
            "for shift in range(1, shifts + 1):",
            "for shift in range(shifts):",
            COUNTS,
        ),
        (
            "the last shift alone",
            "broken[str(shift)] = lines",
            "broken = {str(shift): lines}",
            COUNTS,
        ),
        ("a shift too few", "range(1, shifts + 1)", "range(1, shifts)", COUNTS),
        ("what broke is no failure", "failed += bool(broken)", "failed += 0", COUNTS),
        ("kept under the chapter's name", '"key": key(chapter)', '"key": chapter.name', COUNTS),
        ("any record will do", 'found.get("key") == key(chapter)', "found", TEXT),
        ("no record is a pass", "not run for this text", "held for 5 of 5 shifts", TEXT),
        (
            "chapters of one stem share a record",
            "{chapter.name.replace('/', '.')}",
            "{chapter.path.stem}",
            "test_chapters_of_one_stem_have_each_their_record",
        ),
        (
            "every chapter draws",
            "return any(_DRAWS.search",
            "return True or any(_DRAWS.search",
            "test_a_chapter_draws_if_it_asks_the_experiments_to",
        ),
        (
            "a chapter that draws does not",
            "(?:rng|split|mlp|fit)",
            "(?:rng|split|fit)",
            "test_a_chapter_draws_if_it_asks_the_experiments_to",
        ),
        ("the key forgets the blocks", "hashlib.sha256(code.encode())", "hashlib.sha256()", TEXT),
        (
            "the key forgets doctests",
            "block.source for block in chapter.blocks)\n    names",
            'block.source for block in chapter.blocks if block.kind == "python")\n    names',
            EVERY,
        ),
        (
            "the key forgets the loss files",
            "        digest.update(_meaning(source).encode())\n",
            "        pass\n",
            KEY,
        ),
        ("the key is of docstrings, too", "if isinstance(node, documented)", "if 0", KEY),
        ("the key is of comments, too", "return ast.unparse(tree)", "return source", KEY),
        ("the key forgets imports over several lines", "(\\([^)]*\\)|.*)", "(.*)", EVERY),
        ("the key forgets what doctests import", "(?:>>> |\\.\\.\\. )?from", "from", EVERY),
        (
            "the key forgets the experiments",
            "    digest.update(_experiments(code).encode())\n",
            "",
            KEY,
        ),
        ("the key is of all experiments", "todo & functions.keys()", "functions.keys()", KEY),
        ("no shift", '"LOSSBOOK_SHIFT": str(shift)', '"LOSSBOOK_SHIFT": "0"', OWN),
        ("a crash is a pass", "return lines if done.returncode == 0 else", "return lines or", OWN),
        ("a shift of chance", "**NUMERICS, ", "", OWN),
        (
            "doctests are not run",
            "doctest.DocTestParser().get_examples(block.source)",
            "[]",
            BREAKS,
        ),
        ("an expected exception breaks", "if piece.exc_msg:", "if not piece:", BREAKS),
        (
            "any exception of a doctest is expected",
            "if piece.exc_msg:",
            'if mode == "single":',
            BREAKS,
        ),
        ("the line of the block", "line = trace.tb_lineno", "pass", BREAKS),
        ("each block alone", "exec(code, names)", "exec(code, dict(names))", BREAKS),
        (
            "the key forgets what the experiments call",
            "ast.walk(f) if",
            "() if",
            "test_the_key_is_of_what_the_experiments_call_in_turn",
        ),
    ],
)
