"""Decoding in processes of their own: a codec that crashes or hangs takes a worker with it and not the service."""

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from services.domain.reasons import Rejected, RejectReason
from services.encode.pixels import Picture, read_picture, start_worker

Read = Callable[[bytes], Picture | Rejected]


class DecodePool:
    """Reads pictures in `workers` processes, started when the first picture comes."""

    def __init__(self, workers: int = 1, read: Read = read_picture) -> None:
        self.workers = workers
        self._read = read
        self._pool: ProcessPoolExecutor | None = None

    async def pictures(self, objects: Sequence[bytes]) -> list[Picture | Rejected]:
        """One answer for each object, in order. When a worker dies, each object that had no answer goes alone, so
        that only the one that kills its worker is refused."""
        together = await asyncio.gather(*(self._submit(data) for data in objects), return_exceptions=True)
        broken = [n for n, answer in enumerate(together) if isinstance(answer, BrokenProcessPool)]
        if broken:
            self.close()
        for n in broken:
            together[n] = await self._alone(objects[n])
        answers: list[Picture | Rejected] = []
        for answer in together:
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
        return answers

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _alone(self, data: bytes) -> Picture | Rejected:
        try:
            return await self._submit(data)
        except BrokenProcessPool:
            self.close()
            return Rejected(RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)", "the decoder crashed or took too long")

    async def _submit(self, data: bytes) -> Picture | Rejected:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # fork would copy gRPC's and Kafka's threads half alive
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=start_worker)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, data)
