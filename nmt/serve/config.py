"""Where the server listens, and what it accepts (serve.*)."""

from dataclasses import dataclass

from nmt.errors import ConfigError
from nmt.settings import check_ranges, setting


@dataclass
class ServeOptions:
    """Address, batching and limits."""

    host: str = setting("127.0.0.1", "address to listen on: this computer alone; 0.0.0.0: reachable from others, too")
    port: int = setting(8000, "port; 0: a free one", least=0, most=65_535)
    names: list[str] = setting(
        [], "the names that a request may call the server by (Host); empty: localhost, or any if host is reachable"
    )
    proxies: list[str] = setting([], "addresses of proxies, whose X-Forwarded-For is believed")
    title: str | None = setting(None, "name of the model on the page and in /health; null: the folder of the run")
    into: str | None = setting(
        None, "of a run with data.tags=true: the language to translate into; null: that of its first direction"
    )
    max_batch: int = setting(64, "texts translated together", least=1, most=10_000)
    wait_ms: float = setting(5.0, "milliseconds that the first text of a batch waits for others", least=0, most=10_000)
    max_texts: int = setting(100, "texts of a request", least=1, most=10_000)
    max_chars: int = setting(10_000, "characters of a request, and of a batch", least=1, most=10_000_000)
    attention_chars: int = setting(500, "attention is given for texts of so many characters", least=0, most=10_000)
    per_minute: int | None = setting(
        600, "requests of a client (an address) a minute; null: any number", least=1, most=1_000_000
    )
    max_waiting: int = setting(
        1000, "texts that wait; when they are so many, requests are turned away", least=1, most=1_000_000
    )
    read_seconds: float = setting(10.0, "how long the body of a request may take to arrive", above=0, most=3600)
    stop_seconds: int = setting(60, "how long a stop waits for requests that were begun", least=1, most=86_400)

    def __post_init__(self) -> None:
        check_ranges(self, "serve")
        for key in ("host", "names", "proxies"):
            value = getattr(self, key)
            if any(not item.strip() for item in (value if isinstance(value, list) else [value])):
                raise ConfigError(f"serve.{key} is empty: type an address, or leave serve.{key} out")
        if self.max_texts > self.max_waiting:
            raise ConfigError(
                f"serve.max_texts={self.max_texts} is above serve.max_waiting={self.max_waiting}: "
                "a request of so many texts could never be accepted"
            )
