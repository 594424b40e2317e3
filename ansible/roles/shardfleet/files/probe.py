"""Runs on the host, in the interpreter that will make the venv: what the preflight wants to know, as JSON.

Arguments: the directory to install into, a URL to ask or nothing, the controller's clock. Old interpreters must be able
to read this, so that they can be named: nothing newer than Python 3.6.
"""

import importlib.util
import json
import os
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HUB_SECONDS = 8.0


def ask(url, answer):
    """Add to `answer` why a URL could not be reached, or an empty string."""
    try:
        # Whoever runs the playbook chose the URL.
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        answer.append("")  # an answer, if not a friendly one
    except (OSError, ValueError) as error:
        answer.append(str(getattr(error, "reason", error)) or type(error).__name__)
    else:
        answer.append("")


clock = time.time()
root, endpoint, controller = sys.argv[1:]
answer = []
if endpoint:
    # A name server that is silent minds no timeout, so the question is asked aside.
    thread = threading.Thread(target=ask, args=(endpoint, answer))
    thread.daemon = True
    thread.start()
    thread.join(HUB_SECONDS + 2)
existing = next(path for path in (Path(root), *Path(root).parents) if path.exists())
sys.stdout.write(
    json.dumps(
        {
            "python": "{}.{}".format(*sys.version_info),
            "makes_venvs": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
            "free_mb": shutil.disk_usage(existing).free // 1000000,
            "clock": clock,
            "ahead": clock - float(controller),
            "hub": (answer or [f"no answer in {HUB_SECONDS:g} s"])[0] if endpoint else "",
        }
    )
)
sys.stdout.flush()
# Not sys.exit, which some versions let wait for the thread.
os._exit(0)
