"""Settings load fast and without torch: for forms, editors and the help of the command line."""

import json
import subprocess
import sys

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "PIL")
SECONDS, MIB = 0.8, 60  # CPU time and memory, including Python's own
PROGRAM = """
import json, resource, sys
import tetrad.settings
from tetrad.settings import Recipe, build_recipe, dump_recipe, json_schema
json_schema()
dump_recipe(build_recipe({}))
modules = sorted(sys.modules)
used = resource.getrusage(resource.RUSAGE_SELF)
import psutil  # getrusage reports the peak of the parent process
memory = psutil.Process().memory_info().rss
print(json.dumps([modules, used.ru_utime + used.ru_stime, memory / 2**20]))
"""


def test_settings_need_no_torch_little_time_and_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    modules, seconds, mib = json.loads(done.stdout)
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    assert seconds <= SECONDS and mib <= MIB


def test_the_help_of_a_command_needs_no_torch() -> None:
    code = "import sys; from tetrad.cli.program import build_program; "
    code += "build_program()(['train', 'lora', '--help'], standalone_mode=False); "
    code += f"assert not set(sys.modules) & {set(HEAVY)!r}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--rank" in shown and "--epochs" in shown
