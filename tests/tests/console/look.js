() => {
  const parsed = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return { red, green, blue, alpha };
  };
  const over = (front, back) => {
    const mix = (key) => front[key] * front.alpha + back[key] * (1 - front.alpha);
    return { red: mix("red"), green: mix("green"), blue: mix("blue"), alpha: 1 };
  };
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = parsed(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer.alpha === 1) break;
    }
    return layers.reverse().reduce((back, front) => over(front, back), { red: 255, green: 255, blue: 255, alpha: 1 });
  };
  const luminance = ({ red, green, blue }) => {
    const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const contrast = (one, two) => {
    const [low, high] = [luminance(one), luminance(two)].sort((left, right) => left - right);
    return (high + 0.05) / (low + 0.05);
  };
  const pale = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !node.checkVisibility() || node.closest(".unseen, script, title")) continue;
    texts += 1;
    const style = getComputedStyle(node);
    const back = ground(node.closest("svg")?.parentElement ?? node);
    const front = over(parsed(node.closest("svg") ? style.fill : style.color), back);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const found = contrast(front, back);
    if (found < (large ? 3 : 4.5)) pale.push(`${found.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  const wide = innerWidth + 0.5;
  const scrolls = (node) => ["auto", "scroll", "hidden"].includes(getComputedStyle(node).overflowX);
  const inside = (node) => {
    for (let at = node.parentElement; at; at = at.parentElement) if (scrolls(at)) return true;
    return false;
  };
  const edge = [...document.body.querySelectorAll("*")].filter((node) => {
    if (!node.checkVisibility() || node.closest(".unseen, .skip")) return false;
    // A list of cards has no need to scroll sideways.
    if (node.matches(".table-box") && innerWidth < 640 && node.querySelector(".cards") && node.scrollWidth > node.clientWidth + 1) return true;
    return node.getBoundingClientRect().right > wide && !inside(node);
  });
  const named = (node) => node.getAttribute("aria-label") || node.labels?.length > 0 || node.textContent.trim();
  const controls = [...document.querySelectorAll("a[href], button, input, select, summary, progress")].filter((node) => node.checkVisibility());
  return {
    pale,
    texts,
    over: [...edge.map((node) => node.outerHTML.slice(0, 120)), ...(document.documentElement.scrollWidth > wide ? ["the page scrolls sideways"] : [])],
    unnamed: controls.filter((node) => !named(node)).map((node) => node.outerHTML.slice(0, 120)),
    ground: luminance(ground(document.body)),
  };
}
