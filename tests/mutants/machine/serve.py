from tests.mutants.machine import bugs

LAST = "test_the_contract_runs_last_and_the_cards_are_filled_when_it_ends"
OWN = "test_staging_is_in_a_process_of_its_own_once_the_code_has_changed"
THERE = "test_nothing_runs_before_the_pages_are_there"
OURS = "test_an_interruption_is_ours_while_chapters_run"
BUGS = bugs(
    "lossbook.book.pages.serve",
    "tests/book/test_serve.py",
    [
        (
            "unfinished pages wait",
            "stage(watch_tree=False, wait=False)",
            "stage(watch_tree=False)",
            "test_pages_are_there_at_once_and_the_server_ends_with_us",
        ),
        (
            "cards called filled while the contract runs",
            "contract is not None and contract.poll() is not None",
            "contract is not None",
            "test_a_card_is_not_called_filled_while_the_contract_runs",
        ),
        (
            "cards called filled, but not drawn",
            "contract = None\n                _update(None, code)\n",
            "contract = None\n",
            LAST,
        ),
        ("the contract runs on one loss", "*unvetted]", "unvetted[0]]", LAST),
        ("the contract runs for ever", "                unvetted = []\n", "", LAST),
        (
            "chapters run in the order of their files",
            "sorted(chapters.load()[0], key=_place)",
            "chapters.load()[0]",
            "test_what_waits_runs_in_that_order",
        ),
        (
            "what no part of the book holds comes first",
            "else len(parts)",
            "else -1",
            "test_chapters_run_in_the_order_of_the_book",
        ),
        (
            "what has run runs again",
            "if run.cached(c) is None]",
            "if run.cached(c) is not False]",
            "test_what_has_not_run_runs_two_at_a_time_and_then_all_is_drawn_again",
        ),
        (
            "one of two is done",
            "_update(waiting[:2], code)",
            "_update(waiting[:1], code)",
            "test_what_has_not_run_runs_two_at_a_time_and_then_all_is_drawn_again",
        ),
        (
            "what is drawn from several is left",
            "                if not waiting:\n",
            "                if waiting is None:\n",
            "test_what_has_not_run_runs_two_at_a_time_and_then_all_is_drawn_again",
        ),
        (
            "waiting goes first",
            "            if paths:\n",
            "            if paths and not waiting:\n",
            "test_what_is_saved_goes_first",
        ),
        (
            "a change of code stages one page",
            "pages if len(pages) == len(paths) else None",
            "pages or None",
            "test_a_change_stages_what_it_can_reach",
        ),
        (
            "a page that is gone stays",
            'if p.suffix == ".md" and p.exists()]',
            'if p.suffix == ".md"]',
            "test_a_change_stages_what_it_can_reach",
        ),
        (
            "its own notebooks stage all",
            '(".ipynb", ".pyc")',
            '(".pyc",)',
            "test_a_change_stages_what_it_can_reach",
        ),
        (
            "a dead server is served",
            "if server.poll() is not None:",
            "if False:",
            "test_a_server_that_ends_ends_us_with_its_code",
        ),
        (
            "the server outlives us",
            "for process in filter(None, (server, contract)):",
            "for process in filter(None, (contract,)):",
            "test_pages_are_there_at_once_and_the_server_ends_with_us",
        ),
        (
            "chapters run before their pages are there",
            "if _there(url):",
            "if True:",
            THERE,
        ),
        (
            "old cards stay on their pages",
            'server, news = _start(address), "The cards are filled."',
            'news = "The cards are filled."',
            LAST,
        ),
        (
            "cards called filled before their pages are there",
            'news = _start(address), "The cards are filled."',
            "news = _start(address), print('The cards are filled.')",
            "test_the_cards_are_called_filled_once_their_pages_are_there",
        ),
        (
            "a taken address is served",
            " or _answers(address):",
            ":",
            "test_an_address_that_is_taken_or_none_is_named",
        ),
        (
            "the first waits for the second",
            "if only and len(only) > 1:",
            "if only is None:",
            "test_of_two_that_run_the_first_that_ends_is_on_its_page_before_the_second",
        ),
        (
            "complaints are swallowed",
            'if line.strip() and "No issues found" not in line:',
            "if not line:",
            "test_what_the_server_complains_of_is_printed",
        ),
        (
            "an interruption is swallowed",
            "        thread = threading.Thread(target=_stage, args=[only], daemon=True)\n"
            "        thread.start()\n        thread.join()\n",
            "        _stage(only)\n",
            OURS,
        ),
        ("who is interrupted waits", "args=[only], daemon=True)", "args=[only])", OURS),
        ("updates overlap", "        thread.join()\n", "", OURS),
        ("stale code stages", "if _code() == loaded:", "if _code():", OWN),
        ("errors are silent", 'print(f"\\n{error}", file=sys.stderr)', "pass", OWN),
        ("all or nothing", "[str(path) for path in only or []]", "[]", OWN),
    ],
)
