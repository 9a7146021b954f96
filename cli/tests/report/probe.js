// Uses the page as a person would and writes down what came of it.
{
  const all = (selector) => document.querySelectorAll(selector);
  const heading = (name) => [...all("th button")].find((button) => button.textContent === name);
  const first = () => all("#tensors tbody tr")[0].cells[0].textContent;
  const facts = {
    dots: all("#sqnr .dot").length, bars: all("#entropy .bar").length, rows: all("#tensors tbody tr").length,
    cards: all(".card").length, overflow: document.documentElement.scrollWidth - innerWidth,
    scripts: document.scripts.length, title: document.title,
  };
  heading("size").click(); facts.smallest = first();
  heading("size").click(); facts.largest = first();
  const filter = document.getElementById("filter");
  filter.value = "FFN_DOWN"; filter.dispatchEvent(new Event("input"));
  facts.filtered = [...all("#tensors tbody tr")].filter((row) => !row.hidden).length;
  [...all("#sqnr .legend button")].find((button) => button.textContent === "ffn_down").click();
  facts.hidden = [...all("#sqnr svg [data-kind]")].filter((mark) => mark.style.display === "none").length;
  const embedding = [...all("#sqnr .dot")].find((dot) => dot.dataset.tip.startsWith("token_embd"));
  embedding.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 9, clientY: 9 }));
  facts.tip = document.getElementById("tip").textContent.split(":")[0];
  document.body.dataset.facts = JSON.stringify(facts);
}
