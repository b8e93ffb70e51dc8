"""An audit through a server that is not ours: `transformers serve` with the phantom, over loopback."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from demur.phantom import path as phantom_path
from demur.studies import audit

SERVE = shutil.which("transformers", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if SERVE is None:
        pytest.skip("the command `transformers serve` is not installed: pip install 'transformers[serving]'")
    home = tmp_path_factory.mktemp("hf")
    (home / "hub").mkdir()  # the server lists this folder and fails when it is not there
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (home / "log").open("w")
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen(
        [SERVE, "serve", str(phantom_path()), *options, "--continuous-batching"],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 - our own loopback address
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, "the server did not come up"
                time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


def test_the_phantom_behind_a_foreign_server_refuses_as_planted(server, monkeypatch, tmp_path):
    monkeypatch.setenv("FOREIGN_BASE_URL", server)
    monkeypatch.setenv("FOREIGN_API_KEY", "none")
    run = audit(
        f"openai-api/foreign/{phantom_path()}", prompts="phantom", out=tmp_path / "run", limit=240, max_tokens=48
    )
    assert run.info.status == "complete"
    rates = {measure.address: measure for measure in run.measures}
    samples = run.samples
    assert samples["tokens_out"].min() > 0
    assert set(samples["ending"]) <= {"end", "length"}
    # a server draws without a seed: at n = 240 the two are about seven standard errors apart
    assert rates["refusal_profile.over_refusal"].high < 1 - rates["refusal_profile.under_refusal"].high
