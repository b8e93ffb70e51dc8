"""What every test stands on: one thread, no hub, no network beyond loopback."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# before torch is first imported: two threads beside other work are many times slower than one
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["INSPECT_DISABLE_MODEL_USAGE_DISPLAY"] = "1"

# property tests take the same examples every time, and no test reads the clock
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled rows that is kept beside the repository, never in it."""
    if not SHARED.is_dir():
        pytest.skip("the labelled development rows are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def counting_offline() -> None:
    """Gives Inspect's stand-in model bytes to count: the vocabulary that it counts with would have to be downloaded."""
    import tiktoken
    from tiktoken import registry

    by_bytes = {bytes([value]): value for value in range(256)}
    registry.ENCODINGS.setdefault(
        "o200k_base", tiktoken.Encoding("o200k_base", pat_str=r"[\s\S]", mergeable_ranks=by_bytes, special_tokens={})
    )
