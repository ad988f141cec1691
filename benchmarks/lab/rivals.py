"""Other proxies: how each is installed and started, and what it has to be told so that it passes a request on."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from .bodies import MODELS, Client

INSTALL_WITHIN = 900.0
_KEY = "sk-bench-0123456789-0123456789-0123456789"


class Rival(NamedTuple):
    """A proxy of somebody else; in its commands and files stand @PORT@, @MOCK@ (both ports) and @HOME@ (a folder)."""

    name: str
    client: Client
    """The dialect that it passes on without translation."""
    command: tuple[str, ...]
    """Its first word is looked for in the folder that it was installed into."""
    packages: tuple[str, ...]
    """What pip takes, or npm where `node` says so."""
    node: bool = False
    pinned: Mapping[str, str] = {}
    """Versions of what npm packages depend on, where the newest ones break them."""
    files: Mapping[str, str] = {}
    """Files to write below its home."""
    environ: Mapping[str, str] = {}
    fields: str = ""
    """Headers beside the usual ones."""
    model: str = ""
    """The name under which it knows the model."""


_LITELLM = json.dumps(
    {
        "model_list": [
            {
                "model_name": MODELS["chat"],
                "litellm_params": {
                    "model": f"openai/{MODELS['chat']}",
                    "api_base": "http://127.0.0.1:@MOCK@/v1",
                    "api_key": _KEY,
                },
            }
        ],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
    }
)
_ROUTER = json.dumps(
    {
        "HOST": "127.0.0.1",
        "PORT": 0,
        "LOG": False,
        "NON_INTERACTIVE_MODE": True,
        "Providers": [
            {
                "name": "mock",
                "api_base_url": "http://127.0.0.1:@MOCK@/v1/messages",
                "api_key": _KEY,
                "models": ["glm-4.6"],
                "transformer": {"use": ["Anthropic"]},
            }
        ],
        "Router": {"default": "mock,glm-4.6"},
    }
).replace('"PORT": 0', '"PORT": @PORT@')

RIVALS = (
    Rival(
        "litellm",
        "chat",
        ("bin/litellm", "--config", "@HOME@/config.yaml", "--host", "127.0.0.1", "--port", "@PORT@"),
        ("litellm[proxy]",),
        files={"config.yaml": _LITELLM},
        environ={
            "LITELLM_MASTER_KEY": _KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "DISABLE_ADMIN_UI": "True",
        },
        fields=f"x-litellm-api-key: Bearer {_KEY}\r\n",
    ),
    Rival(
        "portkey",
        "chat",
        ("node_modules/@portkey-ai/gateway/build/start-server.js", "--port=@PORT@", "--headless"),
        ("@portkey-ai/gateway@1.15.2",),
        node=True,
        pinned={"hono": "4.9.7", "@hono/node-server": "1.3.3"},
        environ={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"},
        fields="x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:@MOCK@/v1\r\n",
    ),
    Rival(
        "claude-code-router",
        "messages",
        ("node_modules/@musistudio/claude-code-router/dist/cli.js", "start"),
        ("@musistudio/claude-code-router@2",),
        node=True,
        files={".claude-code-router/config.json": _ROUTER},
        environ={"SERVICE_PORT": "@PORT@"},
        model="mock,glm-4.6",
    ),
    Rival(
        "headroom",
        "chat",
        (
            *("bin/headroom", "proxy", "--host", "127.0.0.1", "--port", "@PORT@", "--no-optimize", "--no-telemetry"),
            *("--openai-api-url", "http://127.0.0.1:@MOCK@/v1", "--no-cache", "--no-rate-limit"),
        ),
        ("headroom-ai[proxy]",),
        environ={"HF_HUB_OFFLINE": "1", "HEADROOM_LOG_LEVEL": "WARNING"},
    ),
)


class NotInstalled(Exception):
    """A rival cannot be had here; the text says why."""


def install(rival: Rival, folder: Path, tell: Callable[[str], None]) -> Path:
    """The folder that a rival lies in, made where it is missing. Raises NotInstalled."""
    home = folder / rival.name
    if (home / rival.command[0]).exists():
        return home
    if rival.node and shutil.which("node") is None:
        raise NotInstalled("it needs node and npm")
    tell(f"installing {rival.name} into {home} ...")
    home.mkdir(parents=True, exist_ok=True)
    if rival.node:
        overrides = {"name": "rival", "private": True, "overrides": dict(rival.pinned)}
        (home / "package.json").write_text(json.dumps(overrides))
        _run(["npm", "install", "--no-audit", "--no-fund", "--silent", *rival.packages], home)
    else:
        _run([sys.executable, "-m", "venv", str(home)], home)
        _run([str(home / "bin/pip"), "install", "-q", *rival.packages], home)
    if not (home / rival.command[0]).exists():
        raise NotInstalled(f"it brought no {rival.command[0]}")
    return home


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=INSTALL_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{command[0]} took longer than {INSTALL_WITHIN:g} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise NotInstalled(f"{Path(command[0]).name} ended with {done.returncode}: {''.join(last)[:200]}")


def filled(text: str, port: int, mock: int, home: Path) -> str:
    """A text of a rival with its ports and its folder."""
    return text.replace("@PORT@", str(port)).replace("@MOCK@", str(mock)).replace("@HOME@", str(home))
