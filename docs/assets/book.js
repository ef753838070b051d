// Makes the figures live when they come into view, and copies a file's exact text.
const lossbook = (() => {
  const base = document.currentScript.src.replace(/[^/]*$/, "");
  const specs = {};
  const scripts = {};

  function load(path) {
    return (scripts[path] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = base + path;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    }));
  }

  // Panels stand side by side where there is room; a figure's spec says which signals that sets.
  const wide = matchMedia("(min-width: 45em)");

  async function resize(view, sizes, svg) {
    const size = sizes[wide.matches ? "wide" : "narrow"];
    for (const [name, value] of Object.entries(size)) view.signal(name, value);
    await view.resize().runAsync();
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
  }

  async function hydrate(figure) {
    const name = figure.dataset.chart;
    await Promise.all([load("vega.min.js"), load(`charts/${name}.js`)]);
    const box = document.createElement("div");
    const controls = document.createElement("div");
    controls.className = "controls";
    const view = new vega.View(vega.parse(specs[name]), {
      renderer: "svg", container: box, bind: controls, hover: false,
    });
    await view.runAsync();
    const svg = box.querySelector("svg"), sizes = specs[name].usermeta;
    await resize(view, sizes, svg);
    wide.addEventListener("change", () => resize(view, sizes, svg));
    for (const still of figure.querySelectorAll("svg")) still.remove();
    figure.prepend(box);
    for (const input of controls.querySelectorAll("input")) {
      const value = document.createElement("output");
      const show = () => { value.textContent = Number(input.value).toString(); };
      input.parentElement.querySelectorAll("span, label").forEach(e => {
        if (!e.contains(input) && !e.classList.contains("vega-bind-name")) e.remove();
      });
      input.after(value);
      input.addEventListener("input", show);
      show();
    }
    figure.append(controls);
    figure.dataset.live = "yes";
  }

  // Whoever reads without touching anything needs no script for the figures.
  const touched = new Promise(resolve => {
    for (const event of ["pointermove", "pointerdown", "keydown", "scroll", "focusin"]) {
      addEventListener(event, resolve, { once: true, passive: true });
    }
  });

  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      touched.then(() => hydrate(entry.target)).catch(error => console.error(error));
    }
  }, { rootMargin: "200px" });

  function start() {
    for (const figure of document.querySelectorAll("figure[data-chart]:not([data-seen])")) {
      figure.dataset.seen = "yes";
      seen.observe(figure);
    }
    document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
    for (const nav of document.querySelectorAll(".md-code__nav")) nav.setAttribute("role", "presentation");
    for (const box of document.querySelectorAll(".math, .output, .highlight pre > code")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    }
  }

  document.addEventListener("toggle", start, true);  // What was folded has a width only now.

  // Both themes cut the end of what they copy; a shown file is copied to the byte, and of a
  // doctest what one types.
  document.addEventListener("click", event => {
    const button = event.target.closest("[data-clipboard-target], .md-code__button");
    const block = button?.closest(".highlight");
    const code = block?.querySelector("code");
    if (code?.querySelector(".gp")) {
      const typed = code.textContent.split("\n").filter(line => /^(>>>|\.\.\.)( |$)/.test(line));
      button.dataset.clipboardText = typed.map(line => line.slice(4)).join("\n");
    } else if (block?.matches(":has(.filename)")) button.dataset.clipboardText = code.textContent;
  }, true);

  start();
  window.document$?.subscribe(start);
  return { chart: (name, spec) => { specs[name] = spec; } };
})();
