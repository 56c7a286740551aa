// Batches that ran when the page last looked and now do not: the browser says so, once its permission was given by the button.
(() => {
  const button = document.getElementById("notify");
  if (!button || !("Notification" in window)) return;
  const running = new Set();
  const offer = () => (button.hidden = Notification.permission !== "default" || running.size === 0);
  const tell = ({ id, title, ended, url }) => {
    const notification = new Notification(title, { body: ended, tag: id });
    notification.onclick = () => (window.focus(), (location.href = url));
  };
  const look = () => {
    for (const { dataset } of document.querySelectorAll("[data-testid=batch-row]")) {
      const { id, ended } = dataset;
      if (ended && running.delete(id) && Notification.permission === "granted") tell(dataset);
      if (!ended) running.add(id);
    }
    offer();
  };
  button.addEventListener("click", () => Notification.requestPermission().then(offer));
  document.addEventListener("htmx:after:swap", look);
  look();
})();
