from tests.mutants.machine import bugs

FENCE = "test_what_a_fence_is"
KNOWS = "test_a_chapter_knows_its_name_its_file_and_its_lines"
TWICE = "tests/book/test_run.py::test_a_title_or_a_loss_claimed_twice_is_reported_where_it_stands"
READ = "tests/book/test_run.py::test_what_cannot_be_read_is_reported_and_the_rest_is_read"
BUGS = bugs(
    "lossbook.book.runs.chapters",
    "tests/book/test_chapters.py",
    [
        ("three marks close four", "{{{len(marks)},}}", "{{3,}}", FENCE),
        ("any mark closes", "{re.escape(marks[0])}", "[`~]", FENCE),
        ("a line too far", "yield Fence(start, i + 1,", "yield Fence(start, i + 2,", FENCE),
        ("the indent stays", "line.removeprefix(indent) for", "line for", FENCE),
        ("all spaces go", "line.removeprefix(indent) for", "line.lstrip(' ') for", FENCE),
        ("tildes are no fence", "(`{3,}|~{3,})", "(`{3,})", FENCE),
        ("solutions run", "if not f.indent and f.kind", "if f.kind", "test_which_fences_run"),
        ("doctests do not run", '("python", "pycon")', '("python",)', "test_which_fences_run"),
        (
            "what shows a file runs",
            'in ("python", "pycon")',
            '[:2] == "py"',
            "test_which_fences_run",
        ),
        (
            "a title of a block hides it",
            'self.info.partition(" ")[0]',
            "self.info",
            "test_which_fences_run",
        ),
        (
            "fences are changed",
            "parts += lines[fence.line - 1 : fence.end]",
            'parts.append(change("".join(lines[fence.line - 1 : fence.end])))',
            "test_what_stands_in_a_fence_is_not_changed",
        ),
        (
            "the last words are lost",
            'return "".join([*parts, change("".join(lines[end:]))])',
            'return "".join(parts)',
            "test_what_stands_in_a_fence_is_not_changed",
        ),
        (
            "a second use claims the loss",
            '[] if "file" in self.meta else self.losses',
            "self.losses",
            KNOWS,
        ),
        ("its own file, whatever it says", 'if "file" in self.meta:', "if False:", KNOWS),
        (
            "a file that is not there",
            "return own if (ROOT / own).exists() else None",
            "return own",
            KNOWS,
        ),
        (
            "the front matter has no lines",
            '.count("\\n") + 1\n\n    @property\n    def body(',
            '.count("\\r") + 1\n\n    @property\n    def body(',
            KNOWS,
        ),
        ("a rule ends the front matter of none", 're.match(r"---', 're.search(r"---', KNOWS),
        (
            "the last family first",
            'in groups["Losses"] for',
            'in sorted(groups["Losses"], key=str) for',
            "test_the_settings_are_those_of_the_file_and_of_the_environment",
        ),
        (
            "the environment is not asked",
            "os.environ.get(name, default)",
            "default",
            "test_the_settings_are_those_of_the_file_and_of_the_environment",
        ),
        (
            "a missing file is left out",
            "if not source.is_file():",
            "if False:",
            "tests/book/test_stage.py::test_a_file_that_is_not_there_is_reported_at_its_line",
        ),
        (
            "included without its indent",
            "match[1] + line for",
            "line for",
            "test_a_file_is_included_with_its_indent_and_a_missing_one_is_named",
        ),
        (
            "from the first line",
            "at = line + text",
            "at = 1 + text",
            "test_a_file_is_included_with_its_indent_and_a_missing_one_is_named",
        ),
        (
            "what cannot be read ends it",
            "errors.append(error)\n    return",
            "break\n    return",
            READ,
        ),
        ("a chapter without a title", 'or not meta.get("title")', "", READ),
        ("yaml's own lines", "mark.line + 2", "mark.line", READ),
        ("two chapters may claim a loss", '*(("loss", name) for name in chapter.own)', "", TWICE),
        ("two chapters may have a title", '("title", chapter.title), ', "", TWICE),
        (
            "twins are not reported",
            "return chapters, errors + duplicates(chapters)",
            "return chapters, errors",
            "test_every_chapter_below_docs_is_read_in_order",
        ),
        (
            "in the order of the disk",
            'sorted(docs.rglob("*.md"))',
            'sorted(docs.rglob("*.md"), reverse=True)',
            "test_every_chapter_below_docs_is_read_in_order",
        ),
    ],
)
