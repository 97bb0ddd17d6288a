"""`wardstream demo`, told to end by a signal, leaves no process and no data behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from services.bus.settings import load
from tests.support import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.slow]
END_TIMEOUT_S = 60


@pytest.mark.parametrize(
    ("sign", "at", "running"),
    [
        (signal.SIGHUP, "starting 1 broker", 0),
        (signal.SIGTERM, "The page:", 10),  # eight services, a broker, a model server and its model processes
    ],
)
def test_a_demo_that_is_told_to_end_leaves_nothing_behind(tmp_path, sign, at, running):
    cache = load().home.resolve() / "cache"  # what was downloaded need not be again
    cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").symlink_to(cache)
    demo = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "demo", "--synthetic", "--patients", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "WARDSTREAM_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(sign, signal.SIG_DFL),  # these tests may run under nohup
    )
    try:
        seen = []
        assert demo.stdout is not None
        for line in demo.stdout:
            seen.append(line)
            if at in line:
                break
        assert demo.poll() is None, "".join(seen)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= running
        demo.send_signal(sign)
        rest, _ = demo.communicate(timeout=END_TIMEOUT_S)
        assert demo.returncode == 128 + sign, rest
        _, alive = psutil.wait_procs(children, timeout=1)
        assert not alive
        assert not [
            one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or ())
        ]
        assert not list((tmp_path / "demo").iterdir())
    finally:
        if demo.poll() is None:
            for child in [*psutil.Process(demo.pid).children(recursive=True), psutil.Process(demo.pid)]:
                child.kill()
            demo.wait()
