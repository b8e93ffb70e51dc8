"""Facts about loading a checkpoint, and about what is said when that cannot work."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import ClassVar

import pytest
import torch

from demur.errors import InputError, ModelError
from demur.models import LocalModel, Sampling


@pytest.fixture(scope="module")
def checkpoint(build, make_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    network = build("llama")
    network.generation_config.do_sample = True
    network.generation_config.temperature = 5.0
    network.half().save_pretrained(folder)
    network.float()
    make_tokenizer("chatml").save_pretrained(folder)
    return folder


def test_a_saved_checkpoint_loads_and_speaks(checkpoint):
    model = LocalModel.load(checkpoint, device="cpu")
    assert (model.name, model.revision, model.device) == (str(checkpoint), None, torch.device("cpu"))
    assert model.model.dtype == torch.float32, "half precision becomes single on a processor"
    assert not model.model.training
    assert len(model.template_hash) == 64
    one = model.generate(["Hi"], sampling=Sampling(max_tokens=5))[0]
    assert (
        one.token_ids
        == LocalModel.load(str(checkpoint), device="cpu").generate(["Hi"], sampling=Sampling(max_tokens=5))[0].token_ids
    )


def test_number_format_and_template_are_the_users(checkpoint, tmp_path):
    source = "{{ messages[-1]['content'] }}"
    model = LocalModel.load(checkpoint, device="cpu", dtype=torch.bfloat16, chat_template=source)
    assert model.model.dtype == torch.bfloat16
    assert model.tokenizer.decode(model.encode("Hi")) == "Hi"
    file = tmp_path / "template.jinja"
    file.write_text(source)
    again = LocalModel.load(checkpoint, device="cpu", dtype="float16", chat_template=file)
    assert again.model.dtype == torch.float16
    assert again.template_hash == model.template_hash != LocalModel.load(checkpoint, device="cpu").template_hash
    with pytest.raises(InputError, match="cannot be read"):
        LocalModel.load(checkpoint, device="cpu", chat_template=tmp_path / "absent.jinja")


def test_folders_that_are_no_checkpoint(tmp_path):
    with pytest.raises(ModelError, match="no folder"):
        LocalModel.load(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ModelError, match=r"no config\.json \(it holds: notes\.txt\)"):
        LocalModel.load(tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        LocalModel.load(tmp_path / "notes.txt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-family"}))
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{ torn")
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel.load(tmp_path)
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        LocalModel.load("no such model!")


def test_a_checkpoint_without_weights_or_with_a_torn_file(checkpoint, tmp_path):
    import shutil

    torn = tmp_path / "torn"
    shutil.copytree(checkpoint, torn)
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel.load(torn, device="cpu")
    weights.unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel.load(torn, device="cpu")


def run_python(code, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


LOAD = """
from demur.errors import DemurError
from demur.models import LocalModel
try:
    LocalModel.load("nobody/no-such-model")
except DemurError as error:
    print(type(error).__name__, "|", error)
"""


def test_a_hub_that_cannot_be_reached_is_said_at_once(tmp_path):
    # a port on which nobody listens: the connection is refused, as without a network
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = run_python(LOAD, HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0")
    assert done.stdout.startswith(
        "ModelError | there is no folder 'nobody/no-such-model' here, the hub did not answer"
    ), done.stdout + done.stderr
    assert "Retrying" not in done.stderr


def test_a_hub_that_is_switched_off_is_named(tmp_path):
    done = run_python(LOAD, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in done.stdout, done.stdout + done.stderr


def test_a_hub_that_does_not_know_the_model(tmp_path):
    import http.server
    import threading

    class NotFound(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_HEAD(self):
            self.asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        done = run_python(LOAD, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0")
    finally:
        server.shutdown()
        server.server_close()
    assert "no such public model on the hub" in done.stdout, done.stdout + done.stderr
    assert len(NotFound.asked) == 1


def test_missing_torch_names_the_extra():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from demur.errors import MissingExtraError\n"
        "from demur.models import Chat, Sampling\n"
        "try:\n    from demur.models import LocalModel\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = run_python(code)
    assert "pip install 'demur[local]'" in done.stdout, done.stdout + done.stderr


def test_the_records_of_the_room_load_no_engine():
    code = (
        "import sys\nfrom demur.models import Chat, Sampling, as_chat\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert run_python(code).stdout.strip() == "[]"
