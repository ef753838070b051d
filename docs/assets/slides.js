// Starts a deck, and shrinks what would not fit on its slide.
window.deck = new Reveal(document.querySelector(".reveal"), {
  width: 1280, height: 720, margin: 0, minScale: 0.2, maxScale: 2, center: false,
  hash: true, transition: "none", backgroundTransition: "none", pdfSeparateFragments: false,
  plugins: [RevealNotes],
});

function fit(slide) {
  if (!slide) return;
  let size = 24;
  const over = () => slide.scrollHeight > slide.clientHeight + 1
    || [...slide.querySelectorAll("pre > code, div.math, .card, .output")].some(e => e.scrollWidth > e.clientWidth + 1);
  slide.style.fontSize = `${size}px`;
  while (over() && size > 11) slide.style.fontSize = `${--size}px`;
}

deck.initialize().then(() => {
  fit(deck.getCurrentSlide());
  deck.on("slidechanged", event => fit(event.currentSlide));
  // A figure that comes to life has a slider that it had not before.
  new MutationObserver(() => fit(deck.getCurrentSlide())).observe(
    document.querySelector(".slides"), { childList: true, subtree: true });
});
