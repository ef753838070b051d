"""Slides: what is taken of a page, and where a deck starts anew."""

from lossbook.book.pages import slides
from lossbook.book.runs import chapters

PAGE = """<body><article class="a">
<h1 id="t">Title<a class="headerlink" href="#t">x</a></h1>
<div class="chapter-links"><p>links</p></div>
<p>Lead &lt;one&gt;.</p>
<h2 id="in">In short<a class="headerlink" href="#in">x</a></h2>
<p>Text.</p>
<!-- slide -->
<div class="math"><span>f</span></div>
<!-- note: Ask for
f. -->
<details><p>Folded.</p></details>
<h2 id="rec">Recipes</h2>
<p>Left out.</p>
<h2 id="work">At work</h2>
<!-- slide -->
<p>First.</p>
<div class="highlight"><pre>LONG</pre></div>
<figure class="chart"><svg><path d="M0,0"/></svg></figure>
<p>PROSE</p>
<!-- slide -->
<p>Second.<br>Line.</p>
<h3 id="ex">Exercise 1: it (5 minutes)</h3>
<p>Do it.</p>
<div class="highlight"><pre><span>with</span> <span>attempt</span><span>():</span></pre></div>
<p>Not this.</p>
</article></body>""".replace("LONG", "a\n" * 40).replace("PROSE", "b" * 2000)


def test_the_outermost_elements_and_comments_are_found_as_they_stand():
    found = slides.blocks(PAGE)
    article = PAGE.split('<article class="a">')[1].split("</article>")[0]
    assert "".join("".join(found).split()) == "".join(article.split())
    assert '<figure class="chart"><svg><path d="M0,0"/></svg></figure>' in found
    assert "<p>Second.<br>Line.</p>" in found


def test_a_deck_has_the_slides_that_were_marked():
    deck = slides.deck(PAGE)
    titles = ["Title", "In short", "At work", "At work", "Exercise 1: it (5 minutes)"]
    assert [slide.title for slide in deck] == titles
    lead, short, work, again, exercise = (slide.blocks for slide in deck)
    assert lead == ["<p>Lead &lt;one&gt;.</p>"]
    assert short == ['<div class="math"><span>f</span></div>']
    assert deck[1].notes == ["Ask for f."]
    assert [block[:7] for block in work] == ["<p>Firs", "<figure"]  # No long code, nor prose.
    assert again == ["<p>Second.<br>Line.</p>"]
    assert exercise == ["<p>Do it.</p>"]  # Its check is for the notebook.


def test_a_deck_is_written_beside_its_page(tmp_path):
    (chapter,) = [c for c in chapters.load()[0] if c.name == "regression/huber"]
    page = tmp_path / "regression/huber/index.html"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE)
    (deck,) = slides.make(tmp_path, [chapter])
    assert deck == page.with_name("slides.html")
    text = deck.read_text()
    assert text.count("<section") == 5
    assert '<aside class="notes"><p>Ask for f.</p></aside>' in text
    assert 'src="../../assets/reveal/reveal.js"' in text
    assert (tmp_path / "assets/reveal/reveal.js").exists()
