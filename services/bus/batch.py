"""One micro-batch on its way through an engine, measured the same in each."""

from collections.abc import Awaitable, Callable, Sequence

from services.bus import metrics
from services.bus.fold import Folded
from services.bus.messages import Message


async def process(
    service: str,
    messages: Sequence[Message],
    call: Callable[[Sequence[Message]], Awaitable[Folded]],
    publish: Callable[[Folded], Awaitable[None]],
) -> None:
    """`call` the step, then `publish` what it gave and wait for the broker. Raises what these two raise."""
    metrics.BATCH_SIZE.labels(service).observe(len(messages))
    with metrics.STEP_SECONDS.labels(service).time():
        folded = await call(messages)
    with metrics.CONFIRM_SECONDS.labels(service).time():
        await publish(folded)
    for output in folded.outputs:
        metrics.OUTPUTS.labels(service, output.topic.name).inc()
    for message in messages:
        metrics.PROCESSED.labels(service, message.topic).inc()
    for reason in folded.dead:
        metrics.DEAD_LETTERS.labels(service, reason).inc()
