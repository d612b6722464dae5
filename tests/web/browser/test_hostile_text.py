"""Text with code in it, in every field of a run and of a file: the browser shows it as text and runs none of it."""

import json
import re
from pathlib import Path

import numpy as np
from made_runs import add_event, make_run
from playwright.sync_api import Dialog, expect
from safetensors.numpy import save_file
from web_process import OpenPage, serving

CODE = "<img src=x onerror=alert(1)>"
MORE = f"\"'><script src=https://example.com/x.js></script>{CODE}{{{{7*7}}}}<svg onload=alert(2)>\x1b[31m"


def make_hostile_run(folder: Path) -> Path:
    run = make_run(folder, CODE)
    plan = (run / "plan.toml").read_text()
    plan = plan.replace('"zkr"', json.dumps(MORE[:-5])).replace('"a zkr, on a white background"', json.dumps(MORE[:-5]))
    (run / "plan.toml").write_text(plan)
    message = {"text": MORE, "template": MORE}
    add_event(run, event="note", code=CODE, **message)
    add_event(run, event="phase", name=message)
    add_event(run, event="saved", path=f"{CODE}.safetensors", step=20)
    add_event(run, event="sampled", prompt=MORE, shows=message)
    (run / "error.json").write_text(json.dumps({"code": CODE, **message}))
    metadata = {"ss_output_name": MORE, "modelspec.title": MORE, MORE: MORE}
    tensor = np.zeros((2, 4), np.float32)
    save_file({"lora_unet_x.lora_down.weight": tensor}, run / f"{CODE}.safetensors", metadata)
    return run


def test_text_with_code_is_shown_and_not_run(open_page: OpenPage, tmp_path: Path) -> None:
    dialogs: list[Dialog] = []
    with serving(tmp_path, is_warm=True) as served:
        run = make_hostile_run(served.runs)
        page = open_page("/", at=served)
        page.on("dialog", lambda dialog: dialogs.append(dialog))
        expect(page.get_by_text(CODE).first).to_be_visible()
        page.get_by_role("link", name=CODE).first.click()
        page.wait_for_url("**/runs/**")
        expect(page.locator("h1")).to_contain_text(CODE)
        address = page.url
        add_event(run, event="note", code=CODE, text=MORE)  # which the stream brings
        expect(page.get_by_text(re.compile("example.com")).first).to_be_visible()
        for path in (address, f"{address}/pick", f"{served.base}/queue", f"{served.base}/generate"):
            page.goto(path)
            page.wait_for_timeout(700)
            assert page.locator("img[src=x], svg[onload], script[src*='example']").count() == 0, path
        page.goto(f"{served.base}/library")
        row = page.get_by_text(CODE).first
        expect(row).to_be_visible(timeout=60_000)  # the first look at the files starts a process
        row.click()
        page.wait_for_timeout(1_500)
        assert page.locator("img[src=x], svg[onload], script[src*='example']").count() == 0
    assert not dialogs
