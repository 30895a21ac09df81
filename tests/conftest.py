"""What every test shares: iq.py on the path, one thread, hypothesis without a clock."""
import os
import signal
import sys
from pathlib import Path

os.environ.pop("TQDM_DISABLE", None)  # some tests look at the bar; torch imports it

import hypothesis  # noqa: E402
import torch  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
torch.set_num_threads(1)
hypothesis.settings.register_profile("default run", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.register_profile(
    "mutation", deadline=None, max_examples=10, derandomize=True, database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])  # nothing to shrink
hypothesis.settings.load_profile("default run")
