"""`olm cache`: what is kept of prompts on disk, and goes on after the model was unloaded."""

import json
from pathlib import Path

from support.daemon import running_daemon
from support.models import tiny_chat
from support.olm import olm, out

SYSTEM = "You answer kindly, and you know that the ship sails at noon. " * 30


def test_a_prompt_is_warmed_kept_listed_used_and_removed(olm_home: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {tiny_chat()}\nPARAMETER num_ctx 1024\n")
    (tmp_path / "system.txt").write_text(SYSTEM)
    question = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "When does it sail?"},
    ]
    body = {"model": "m", "messages": question, "stream": False, "options": {"num_predict": 1}}
    with running_daemon(olm_home) as daemon:
        environ = daemon.environ
        olm(environ, "create", "m", cwd=tmp_path)
        assert out(olm(environ, "cache", "ls", "--format", "json")) == ""
        assert out(olm(environ, "cache", "warm", "-f", "system.txt", "m", cwd=tmp_path)) == ""
    with running_daemon(olm_home) as daemon:
        environ = daemon.environ
        kept = json.loads(out(olm(environ, "cache", "ls", "--format", "json")))
        assert (kept["models"], kept["prompts"]) == (["m:latest"], 1)
        used = json.loads(out(olm(environ, "cache", "du", "--format", "json")))
        assert used["size"] == kept["size"] > 0
        assert Path(used["directory"]) == olm_home / "cache" / "prompts"
        status, answer = daemon.request("POST", "/api/chat", body)
        assert status == 200
        assert json.loads(answer)["prompt_eval_count"] > 256
        done = olm(environ, "cache", "rm", "m")
        assert done.stderr.startswith(b"removed 1 prompt, ")
        assert out(olm(environ, "cache", "ls", "--format", "json")) == ""
