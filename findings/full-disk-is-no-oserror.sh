#!/bin/sh
# One would expect a disk without room to be an OSError, whoever writes: checkpoint code catches that
# to remove the half-written folder and say what happened. safetensors raises SafetensorError, which
# is no OSError and has no errno, and the tokenizers library a bare Exception with the reason in its
# text alone. Both are shown here under a limit on the size of files, which fails as a full disk does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install safetensors==0.8.0 tokenizers==0.23.3 numpy==2.4.6
cat > "$folder/probe.py" <<'PY'
import resource
import signal
import sys

import numpy
import safetensors
import tokenizers
from safetensors.numpy import save_file

where = sys.argv[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
vocabulary = {f"word{n}": n for n in range(2000)}
tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="word0"))


def raised(write):
    try:
        write()
    except Exception as error:
        return error
    return None


found = {
    "open().write": raised(lambda: open(f"{where}/plain", "wb", buffering=0).write(b"x" * 4096) and
                           open(f"{where}/plain", "ab", buffering=0).write(b"x")),
    "safetensors": raised(lambda: save_file({"a": numpy.zeros(4096)}, f"{where}/weights")),
    "tokenizers": raised(lambda: tokenizer.save(f"{where}/tokenizer.json")),
}
print(f"safetensors {safetensors.__version__}, tokenizers {tokenizers.__version__}")
for name, error in found.items():
    kind = type(error).__name__
    print(f"{name}: {kind}, an OSError: {isinstance(error, OSError)}: {str(error)[:60]}")
kinds = [type(error).__name__ for error in found.values()]
raise SystemExit(0 if kinds == ["OSError", "SafetensorError", "Exception"] else 1)
PY
"$folder/venv/bin/python" "$folder/probe.py" "$folder"
# seen: open().write: OSError; safetensors: SafetensorError, no OSError; tokenizers: Exception, no OSError
