from tests.mutants.machine import bugs

ALL = "test_every_chapter_and_every_generated_page_is_staged_and_what_is_gone_goes"
KEEP = "test_of_some_chapters_the_others_keep_their_page"
RUNNING = "test_what_has_no_run_says_that_it_is_running"
CHARTS = "test_the_many_charts_of_the_benchmark_wait_while_chapters_run"
FAILS = "test_a_failure_stands_on_the_page_and_is_reported"
BROKEN = "test_a_page_that_cannot_be_made_says_why"
PAGE = "test_a_page_is_its_text_with_each_output_at_its_block_and_without_comments"
SHOWN = "test_what_is_shown_of_an_output"
FAMILY = "test_a_family_lists_its_chapters_by_year_and_its_files_without_one"
NAV = "tests/book/test_stage.py::test_chapters_are_listed_by_order_then_year_then_title"
BUGS = bugs(
    "lossbook.book.pages.stage",
    "tests/book/test_staging.py",
    [
        (
            "the last page is dropped",
            "for chapter, run in zip(chosen, runs, strict=True):\n        wrong",
            "for chapter, run in list(zip(chosen, runs, strict=True))[:-1]:\n        wrong",
            ALL,
        ),
        (
            "the generated pages are dropped",
            "        pages = _generated(chapters, wait or all(run.cached for run in runs))\n",
            "        pages = {}\n",
            ALL,
        ),
        (
            "the benchmark waits for ever",
            "wait or all(run.cached for run in runs))",
            "all(run.cached for run in runs))",
            CHARTS,
        ),
        (
            "the benchmark does not wait",
            "wait or all(run.cached for run in runs))",
            "True)",
            CHARTS,
        ),
        (
            "pages that are gone stay",
            "                    path.unlink()\n",
            "                    pass\n",
            ALL,
        ),
        ("generated pages before chapters", "boost: 0.1", "boost: 10", ALL),
        ("the notebook is dropped", 'files[f"{chapter.name}.ipynb"] = published', "pass", ALL),
        (
            "what machines read stays behind",
            'for folder in (STAGED, STAGED / "../beside"):',
            "for folder in (STAGED,):",
            ALL,
        ),
        ("all run when one is saved", "if only is None or c.path in only]", "]", KEEP),
        (
            "the other pages are dropped",
            "    if only is None:\n        pages",
            "    if True:\n        pages",
            KEEP,
        ),
        ("what is running looks done", 'said = [{"text/plain": "running"}]', "said = []", RUNNING),
        (
            "what has run is running",
            "cached(chapter) or _running(chapter)",
            "_running(chapter)",
            RUNNING,
        ),
        ("a failure is not reported", "        errors += wrong\n", "", FAILS),
        (
            "a failure is not shown",
            "        if result.error:\n            html += _error(",
            "        if not result:\n            html += _error(",
            FAILS,
        ),
        (
            "a failure on the first line of its block",
            "result.error_line or result.line}",
            "result.line}",
            FAILS,
        ),
        (
            "a failure looks like an output",
            '<div class="output error" role="alert">',
            '<div class="output">',
            FAILS,
        ),
        ("a page that cannot be made is empty", "_failed(chapter.title, wrong)}", '""}', BROKEN),
        (
            "what nobody foresaw ends all",
            "except Exception as error:\n            at",
            "except ChapterError as error:\n            at",
            "test_what_nobody_foresaw_stands_on_the_page_too",
        ),
        (
            "a chapter that cannot be read has no page",
            "written.add(_write(name, _failed(unread.path.stem, [unread])))",
            "pass",
            BROKEN,
        ),
        (
            "errata that fail are none",
            "errors.append(_unforeseen(ERRATA, error))",
            "errors = [*errors, *[]]",
            "test_errata_that_cannot_be_made_say_why",
        ),
        (
            "hidden words are printed",
            "cite.cite(uncommented(chapter.body)",
            "cite.cite((chapter.body)",
            PAGE,
        ),
        ("a note for the speaker is lost", "|note: (?:(?!-->).)*) -->$", ") -->$", PAGE),
        (
            "comments of the code go, too",
            "return outside_fences(\n        text, lambda prose: _COMMENT.sub("
            'lambda c: c["slides"] or "\\n" * c[0].count("\\n"), prose)\n    )',
            'return _COMMENT.sub(lambda c: c["slides"] or "", text)',
            PAGE,
        ),
        (
            "the first output of each block",
            "_output(output, chapter, files) for output in result.outputs)",
            "_output(output, chapter, files) for output in result.outputs[:1])",
            PAGE,
        ),
        (
            "outputs one block too late",
            'f"<!--output {i}-->\\n", html',
            'f"<!--output {i + 1}-->\\n", html',
            PAGE,
        ),
        ("no card", 'f"{card.card(chapter.losses)}\\n<!-- seeds -->"', '"<!-- seeds -->"', PAGE),
        (
            "nothing of the seeds",
            '"<!-- seeds -->", seeds.said(chapter)',
            '"<!-- seeds -->", ""',
            PAGE,
        ),
        (
            "outputs that are HTML",
            "<pre>{escape(text)}</pre></div>\\n\\n' if text",
            "<pre>{text}</pre></div>\\n\\n' if text",
            SHOWN,
        ),
        ("tables are left out", 'if "text/html" in data:', "if False:", SHOWN),
        (
            "no alt text",
            'if not alt or alt.startswith("<"):',
            "if not alt:",
            "test_a_picture_lies_beside_its_page_and_has_an_alt_text",
        ),
        (
            "no chart is live",
            'if chart["vega"]:',
            "if False:",
            "test_a_live_chart_has_its_script_and_a_still_one_has_none",
        ),
        (
            "every chart is live",
            'if chart["vega"]:',
            "if True:",
            "test_a_live_chart_has_its_script_and_a_still_one_has_none",
        ),
        (
            "a failed figure is folded",
            "return not result.error and (shown",
            "return (shown",
            "tests/book/test_stage.py::"
            "test_a_cell_that_draws_or_compares_is_folded_below_what_it_shows",
        ),
        (
            "chapters of other families",
            'if chapter.name.startswith(f"{folder}/"):',
            "if chapter:",
            FAMILY,
        ),
        (
            "the newest first",
            'key=lambda c: (c.meta.get("year", 0), c.title)):',
            'key=lambda c: (-c.meta.get("year", 0), c.title)):',
            FAMILY,
        ),
        (
            "losses without a chapter are dropped",
            "        if family == folder:\n            title",
            "        if not family:\n            title",
            FAMILY,
        ),
        (
            "a loss without a chapter has no card",
            "card.card([n for n in losses if n in card.losses()])",
            "card.card([])",
            "test_a_loss_without_a_chapter_has_a_page_with_its_file_and_its_card",
        ),
        (
            "the navigation drops generated pages",
            "if p.startswith(target) and p not in known)",
            "if p.startswith(target) and p in known)",
            NAV,
        ),
        (
            "the navigation forgets the order",
            '(c.meta.get("order", 0), c.meta.get("year", 0), c.title)',
            '(c.meta.get("year", 0), c.title)',
            NAV,
        ),
    ],
)
