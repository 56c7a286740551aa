// An address with ?message= opens the conversation at that message; ?words= marks the words that were searched for.
const linked = document.getElementById(document.getElementById("chat").dataset.linked);

const rangesOf = (root, pattern) => {
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const match of walker.currentNode.data.matchAll(pattern)) {
      const range = new Range();
      range.setStart(walker.currentNode, match.index);
      range.setEnd(walker.currentNode, match.index + match[0].length);
      ranges.push(range);
    }
  }
  return ranges;
};

if (linked) {
  linked.scrollIntoView({ block: "start" });
  linked.setAttribute("data-linked", "");
  const words = new URLSearchParams(location.search).get("words")?.match(/[\p{L}\p{N}_]+/gu);
  if (words && CSS.highlights) {
    const pattern = new RegExp(words.join("|"), "giu");
    const ranges = [...linked.querySelectorAll(".prose")].flatMap((root) => rangesOf(root, pattern));
    CSS.highlights.set("found", new Highlight(...ranges));
    ranges[0]?.startContainer.parentElement.scrollIntoView({ block: "center" });
  }
}
