// A job that waits or starts: look after it until it has a run, then go there.
import { ask, press } from "./api.js";
import { badge, get } from "./dom.js";
import { connect } from "./live.js";

const id = get("job").dataset.id;
const SECONDS = 1;

async function look() {
  const job = await ask("GET", `/api/jobs/${id}`).catch(() => null);
  if (job?.run) {
    location.replace(`/runs/${encodeURIComponent(job.run)}`);
    return;
  }
  if (job) {
    get("job-badge").replaceWith(Object.assign(badge(job.word, job.tone), { id: "job-badge" }));
    get("job-sentence").textContent = job.sentence;
    get("remove-job").hidden = !job.can_remove;
  }
  setTimeout(look, SECONDS * 1000);
}

get("remove-job").addEventListener("click", (event) => press(event.currentTarget, async () => {
  await ask("DELETE", `/api/jobs/${id}`);
  location.href = "/";
}));

connect();
look();
