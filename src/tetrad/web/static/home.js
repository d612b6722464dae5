// The first page: start the demo, keep the list of runs up to date.
import { ask, press } from "./api.js";
import { get } from "./dom.js";
import "./home_new.js";
import { connect } from "./live.js";
import { refresh } from "./runlist.js";

get("start-demo")?.addEventListener("click", (event) => press(event.currentTarget, async () => {
  location.href = (await ask("POST", "/api/demo")).address;
}));

connect({ list: true, handlers: { list: refresh } });
