// Browser notifications when a batch ends. The button asks for the permission.
const button = document.getElementById("notify");
const running = new Set();

const updateButton = () => {
  button.hidden = Notification.permission !== "default" || running.size === 0;
};

const notify = ({ id, title, ended, url }) => {
  const notification = new Notification(title, { body: ended, tag: id });
  notification.onclick = () => {
    window.focus();
    location.href = url;
  };
};

const checkBatches = () => {
  for (const { dataset } of document.querySelectorAll("[data-testid=batch-row]")) {
    const { id, ended } = dataset;
    if (!ended) running.add(id);
    else if (running.delete(id) && Notification.permission === "granted") notify(dataset);
  }
  updateButton();
};

if (button && "Notification" in window) {
  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    updateButton();
  });
  document.addEventListener("htmx:after:swap", checkBatches);
  checkBatches();
}
