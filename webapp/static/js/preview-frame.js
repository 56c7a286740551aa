// Runs inside the sandboxed frame: draws the source that the page posts, and answers with the height or the error.
// The frame's policy allows no network and no other script: what a model wrote is drawn, never run.
const kind = document.documentElement.dataset.kind;
// Elements that load, navigate or look names up even without script.
const ACTIVE = "script, link, meta, base, iframe, frame, frameset, object, embed, portal, fencedframe";
const ADDRESSES = /^(src|srcset|poster|background|data|href|xlink:href|action|formaction|ping)$/i;
const answer = (message) => parent.postMessage(message, "*");
const report = () => answer({ height: Math.ceil(document.documentElement.getBoundingClientRect().height) });

async function drawMermaid(source, dark) {
  // The same color scheme as the page's: otherwise the browser paints a background.
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  document.body.style.margin = "0";
  mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: dark ? "dark" : "default", suppressErrorRendering: true });
  const { svg } = await mermaid.render("diagram", source);
  document.body.innerHTML = svg;
  const drawing = document.body.firstElementChild;
  // On a phone the diagram scrolls before its words become too small to read.
  drawing.style.minWidth = `${Math.min(parseFloat(drawing.style.maxWidth) || 0, 560)}px`;
}

function drawHtml(source) {
  const parsed = new DOMParser().parseFromString(source, "text/html");
  parsed.querySelectorAll(ACTIVE).forEach((element) => element.remove());
  for (const element of parsed.querySelectorAll("*")) {
    for (const { name, value } of [...element.attributes]) {
      // The policy refuses these, too; without them the browser has nothing to refuse.
      const loads = name !== "href" || element.localName !== "a";
      const address = ADDRESSES.test(name) && loads && !/^\s*(data:image\/|#)/i.test(value);
      if (address || /^on/i.test(name)) element.removeAttribute(name);
    }
  }
  const styles = [...parsed.head.querySelectorAll("style")];
  document.body.replaceWith(document.adoptNode(parsed.body));
  document.head.append(...styles.map((style) => document.adoptNode(style)));
}

addEventListener("message", async (event) => {
  if (event.source !== parent) return;
  try {
    if (kind === "mermaid") await drawMermaid(event.data.source, event.data.dark);
    else drawHtml(event.data.source);
    new ResizeObserver(report).observe(document.documentElement);
    report();
  } catch (error) {
    answer({ error: String(error.message ?? error) });
  }
});
answer({ ready: true });
