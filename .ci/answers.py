"""Start `trimtab serve` as a user would and wait for its first answer; argument: the command."""

import subprocess
import sys
import time
import urllib.request

PORT = "5987"
ADDRESS = f"http://127.0.0.1:{PORT}"

server = subprocess.Popen([sys.argv[1], "serve", "--port", PORT])
try:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"{ADDRESS}/health", timeout=2) as answer:
                print("health:", answer.read().decode())
                break
        except OSError:
            time.sleep(0.1)
    else:
        sys.exit("no answer within 10 s")
    with urllib.request.urlopen(f"{ADDRESS}/v1/models", timeout=2) as answer:
        print("models:", len(answer.read()), "bytes")
finally:
    server.terminate()
    code = server.wait(timeout=15)
print("stopped with", code)
sys.exit(code)
