from tests.mutants.machine import bugs

PAGE = "test_a_page_is_its_text_its_code_and_what_that_printed"
CARD = "test_the_card_stands_below_its_heading_with_each_result_as_it_is"
INDEX = "test_the_index_has_each_chapter_with_its_losses_and_its_description"
BUGS = bugs(
    "lossbook.book.pages.plain",
    "tests/book/test_plain.py",
    [
        ("a failure told as a pass", "{entry['status']}{error}", "passed{error}", CARD),
        (
            "failures are left out",
            "            if entry:\n",
            "            if entry and entry['status'] != 'failed':\n",
            CARD,
        ),
        (
            "what never ran has an empty card",
            'if found else f"`{loss}`: not run on this code.\\n"',
            'if found or not found else ""',
            CARD,
        ),
        ("no reasons", 'if entry["reason"] else', "if False else", CARD),
        ("no bounds", 'if entry["error"] else', "if False else", CARD),
        ("a bound of another check", "card.bound(entry['error'])", "card.bound(1e-16)", CARD),
        ("the first loss alone", "for loss in losses:", "for loss in losses[:1]:", CARD),
        (
            "a card at each heading",
            '{_card(chapter.losses)}", 1)',
            '{_card(chapter.losses)}")',
            CARD,
        ),
        ("the first output alone", "for o in cell.outputs]", "for o in cell.outputs[:1]]", PAGE),
        ("no output", "for out in said if out]", "for out in said if not out]", PAGE),
        ("empty outputs", "for out in said if out]", "for out in said]", PAGE),
        ("a cell too few", "cells[2:]", "cells[3:]", PAGE),
        ("how to run it", "cells[2:]", "cells[1:]", PAGE),
        ("text is left out", "parts.append(cell.source)", "pass", PAGE),
        (
            "the first chapter of each family",
            "for chapter in chapters:",
            "for chapter in chapters[:1]:",
            INDEX,
        ),
        ("the start below itself", 'if chapter.name == "index" else', "if False else", INDEX),
        ("one loss a chapter", "', '.join(chapter.losses)", "chapter.losses[0]", INDEX),
    ],
)
