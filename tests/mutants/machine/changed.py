from tests.mutants.machine import bugs

LOSS = "test_a_loss_reaches_its_tests_and_the_chapters_that_loaded_it"
ELSE = "test_anything_else_reaches_everything"
NEW = "test_what_changed_is_what_differs_from_main_and_what_is_new"
BUGS = bugs(
    "lossbook.book.runs.changed",
    "tests/book/test_changed.py",
    [
        (
            "a chapter that loaded it is forgotten",
            '{f"docs/{c.name}.md" for c in chapters if _loads(c, file)}',
            "set()",
            LOSS,
        ),
        (
            "what chapters print is forgotten",
            ", *(_drift(c) for c in chapters if _loads(c, file))}",
            "}",
            LOSS,
        ),
        (
            "a chapter that never ran loads nothing",
            "not stored.exists() or file in",
            "stored.exists() and file in",
            LOSS,
        ),
        (
            "the first chapter that loaded it",
            '.get("needs", [file])',
            '.get("names", [])',
            LOSS,
        ),
        (
            "tests that name the module alone",
            "if home == module)]",
            'if home == "")]',
            LOSS,
        ),
        ("tests of all losses", "if word.search(p.read_text())]", "]", LOSS),
        (
            "a deleted loss reaches nothing",
            '/(?!_)\\w+\\.py", file) and (ROOT / file).exists()',
            '/(?!_)\\w+\\.py", file)',
            ELSE,
        ),
        ("a family's front door is a loss", "(?!_)", "", ELSE),
        (
            "what is not known is left out",
            "            return []\n",
            "            continue\n",
            ELSE,
        ),
        ("the layout is left out", "{ALWAYS}", "set()", "test_no_change_reaches_the_layout_alone"),
        (
            "a test reaches nothing",
            "            chosen.add(file)\n",
            "            pass\n",
            "test_a_test_file_reaches_itself",
        ),
        (
            "a chapter's blocks alone",
            "chosen |= {file, _drift(found[0])}",
            "chosen |= {file}",
            "test_a_chapter_reaches_its_blocks_its_record_and_the_layout",
        ),
        (
            "new files are forgotten",
            '        *git("ls-files", "--others", "--exclude-standard"),\n',
            "",
            NEW,
        ),
        ("what was committed is forgotten", '"--name-only", base[0]', '"--name-only", "HEAD"', NEW),
        ("a local main is none", ' or git("merge-base", "HEAD", "main")', "", NEW),
    ],
)
