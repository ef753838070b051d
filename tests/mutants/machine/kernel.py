from tests.mutants.machine import bugs

DIFFERS = "test_what_differs_is_displayed_for_the_runner"
NEEDS = "test_a_run_needs_what_it_loaded_opened_and_asked_for"
BUGS = bugs(
    "lossbook.book.runs.kernel",
    "tests/book/test_kernel.py",
    [
        ("what differs is swallowed", "if said:", "if not said:", DIFFERS),
        ("what differs is lost", "out=said.append", "out=lambda _: None", DIFFERS),
        ("the first lines alone", '"".join(said)', "said[0][:60]", DIFFERS),
        ("no prompt, no test", "if not examples:", "if False:", DIFFERS),
        ("another line", "path, path, line, None", "path, path, line + 1, None", DIFFERS),
        (
            "doctests stop at the first",
            "DocTestRunner(verbose=False)",
            "DocTestRunner(verbose=False, optionflags=doctest.FAIL_FAST)",
            DIFFERS,
        ),
        (
            "spaces do not count",
            "DocTestRunner(verbose=False)",
            "DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)",
            DIFFERS,
        ),
        (
            "an exception of any message",
            "DocTestRunner(verbose=False)",
            "DocTestRunner(verbose=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)",
            "test_a_doctest_that_holds_says_nothing_and_shares_the_namespace",
        ),
        (
            "a namespace of its own",
            "test.globs = get_ipython().user_ns",
            "test.globs = dict(get_ipython().user_ns)",
            "test_a_doctest_that_holds_says_nothing_and_shares_the_namespace",
        ),
        (
            "the namespace is emptied",
            "clear_globs=False",
            "clear_globs=True",
            "test_a_doctest_that_holds_says_nothing_and_shares_the_namespace",
        ),
        (
            "chance is not seen",
            "if not torch.equal(state, now):",
            "if torch.equal(state, now[:-1]):",
            "test_a_cell_that_draws_from_torch_is_told_once",
        ),
        (
            "every later cell is blamed",
            "            state = now\n",
            "",
            "test_a_cell_that_draws_from_torch_is_told_once",
        ),
        (
            "chance is told to the reader",
            ", file=sys.stderr)",
            ")",
            "test_a_cell_that_draws_from_torch_is_told_once",
        ),
        ("opened files are forgotten", "for file in loaded | _opened", "for file in loaded", NEEDS),
        ("modules are forgotten", "for file in loaded | _opened", "for file in _opened", NEEDS),
        (
            "names are forgotten",
            '- {"lossbook/__init__.py"} | names',
            '- {"lossbook/__init__.py"}',
            NEEDS,
        ),
        ("the package's own metadata counts", "|[^/]*\\.egg-info)/", ")/", NEEDS),
        ("every name is needed", "_HOMES.keys() & vars(lossbook).keys()", "_HOMES.keys()", NEEDS),
        (
            "data is taken for what is made",
            "(build|site|node_modules|",
            "(build|site|node_modules|docs|",
            NEEDS,
        ),
        (
            "only what Python opens",
            'if event == "open" and isinstance(arguments[0], str):',
            'if event == "open" and str(arguments[0]).endswith(".py"):',
            "test_only_files_that_are_opened_by_name_are_noted",
        ),
        (
            "a path of its folder",
            "_opened.add(os.path.abspath(arguments[0]))",
            "_opened.add(arguments[0])",
            "test_only_files_that_are_opened_by_name_are_noted",
        ),
        (
            "no watch on files",
            "    sys.addaudithook(_note)\n",
            "",
            "test_a_kernel_starts_with_charts_as_specifications_and_its_watches",
        ),
        (
            "no watch on chance",
            '    get_ipython().events.register("post_run_cell", watch_random())\n',
            "    get_ipython()\n",
            "test_a_kernel_starts_with_charts_as_specifications_and_its_watches",
        ),
    ],
)
