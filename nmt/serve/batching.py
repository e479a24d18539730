"""The texts of simultaneous requests, translated together: a queue, and one thread that works on it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from nmt.serve.config import ServeOptions


@dataclass(eq=False)
class Job:
    """A text that waits for its translation."""

    text: str
    n_best: int
    attention: bool
    arrived: float  # by the clock of the event loop
    answer: "asyncio.Future[str]"


class FullError(Exception):
    """So many texts wait already that no more are taken."""


class Batcher:
    """Gathers texts, first come first served, and has ``translate`` answer them, many at a time, in one thread.

    While a batch is translated the next one gathers.  When nothing was being translated, the first text waits
    ``wait_ms`` for others.  A batch has at most ``max_batch`` texts and ``max_chars`` characters, so that the time that
    it takes has a limit; a longer text is a batch of its own.  If ``translate`` fails, every text of the batch is tried
    alone, and the error goes to those that fail then.

    The event loop is never blocked: it reads, refuses and answers other requests meanwhile.
    """

    def __init__(self, translate: Callable[[Sequence[Job]], list[str]], options: ServeOptions) -> None:
        self.translate, self.options = translate, options
        self.waiting: deque[Job] = deque()
        self.more = asyncio.Event()
        # A new thread computes with as many threads as torch chooses, whatever this one was told (OpenMP).
        threads = torch.get_num_threads()
        self.thread = ThreadPoolExecutor(1, "translate", initializer=torch.set_num_threads, initargs=(threads,))
        self.task = asyncio.get_running_loop().create_task(self.work())

    async def submit(self, texts: Sequence[str], n_best: int, attention: bool) -> list[str]:
        """The answers for some texts, in order.  A caller who is cancelled takes its texts out of the queue.

        Raises FullError, and what ``translate`` raised for a text.
        """
        if len(self.waiting) + len(texts) > self.options.max_waiting:
            raise FullError
        loop = asyncio.get_running_loop()
        jobs = [Job(text, n_best, attention, loop.time(), loop.create_future()) for text in texts]
        self.waiting.extend(jobs)
        self.more.set()
        try:
            return await asyncio.gather(*(job.answer for job in jobs))
        except BaseException:  # one of the texts cannot be translated, or the caller does not wait any longer
            for job in jobs:
                job.answer.cancel()
            self.waiting = deque(job for job in self.waiting if not job.answer.done())
            raise

    def alive(self) -> bool:
        """Whether texts are still being worked on."""
        return not self.task.done()

    async def work(self) -> None:
        """Translate what comes, without end."""
        while True:
            await self.gathered()
            await self.answer(self.take())

    async def gathered(self) -> None:
        """Return when a batch is to begin: it is full, or its first text has waited long enough."""
        loop = asyncio.get_running_loop()
        while True:
            left = None
            if self.waiting:
                left = self.waiting[0].arrived + self.options.wait_ms / 1000 - loop.time()
                if left <= 0 or len(self.waiting) >= self.options.max_batch:
                    return
            self.more.clear()
            try:
                await asyncio.wait_for(self.more.wait(), left)
            except TimeoutError:
                continue

    def take(self) -> list[Job]:
        """The next batch, out of the queue."""
        batch: list[Job] = []
        characters = 0
        while self.waiting and len(batch) < self.options.max_batch:
            characters += len(self.waiting[0].text)
            if batch and characters > self.options.max_chars:
                break
            batch.append(self.waiting.popleft())
        return batch

    async def answer(self, batch: Sequence[Job]) -> None:
        """Translate a batch, and give everybody who still waits an answer or an error."""
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self.thread, self.translate, batch)
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    if not job.answer.done():
                        await self.answer([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for job, answer in zip(batch, answers, strict=True):
            if not job.answer.done():
                job.answer.set_result(answer)

    async def close(self) -> None:
        """Stop working; whoever still waits is cancelled."""
        self.task.cancel()
        for job in self.waiting:
            job.answer.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self.thread.shutdown)
