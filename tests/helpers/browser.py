"""A headless Chromium, driven over two pipes by the DevTools protocol (https://chromedevtools.github.io)."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0  # seconds, on a busy machine


def chromium() -> str | None:
    """The browser's path, where it is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page.  Messages are JSON that ends in a zero byte, read from descriptor 3 and written to 4."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is for the browser's profile."""
        path = chromium()
        assert path is not None
        there, self.to = os.pipe()
        self.back, here = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        flags += [f"--user-data-dir={folder}", "--remote-debugging-pipe", "--window-size=1100,900", "about:blank"]
        # The shell gives the two descriptors the numbers that the browser looks for.
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{there} 4>&{here}', path, *flags]
        self.process = subprocess.Popen(
            command, pass_fds=(there, here), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(there)
        os.close(here)
        self.unread, self.count, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        [page] = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events that come meanwhile go to ``events``."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def read(self) -> dict[str, Any]:
        """The next message of the browser."""
        while b"\0" not in self.unread:
            part = os.read(self.back, 1 << 16)
            assert part, "the browser has ended"
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def run(self, code: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, code: str) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(code)):
            assert time.monotonic() < end, f"{code} stays {value!r}; the page: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def open(self, address: str) -> None:
        """Go to a page, and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, modifiers: int = 0) -> None:
        """A key, down and up; modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers, windowsVirtualKeyCode=code
            )

    def point(self, selector: str) -> None:
        """Move the mouse to the middle of an element."""
        box = f"(e => {{ e.scrollIntoView(); return e.getBoundingClientRect().toJSON() }})({element(selector)})"
        place = self.run(box)
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """What the browser logged: errors of scripts, and what a policy forbade."""
        self.run("0")  # what was logged before has come by now
        found = []
        for event in self.events:
            said = event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning")
            if said or event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown"):
                found.append(json.dumps(event["params"]))
        return found

    def requested(self) -> list[str]:
        """Every address that the page asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]


def element(selector: str) -> str:
    """JavaScript for the first element of a selector."""
    return f"document.querySelector({json.dumps(selector)})"
