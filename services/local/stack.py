"""The local Kafka and Triton together: `wardstream up` and `wardstream down`, and what the demo stands on."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.bus.admin import create_topics
from services.bus.settings import CHECKOUT, Settings, load
from services.bus.topics import TOPICS
from services.local.kafka import LocalKafka
from services.local.triton import LocalTriton, running_endpoint, stop_left_over

MODEL_REPOSITORY = CHECKOUT / "model_repository"


@dataclass(frozen=True)
class Stack:
    """Addresses of what runs."""

    bootstrap: str
    triton_url: str
    brokers: int
    replication: int
    min_isr: int

    def environment(self) -> dict[str, str]:
        """The variables by which services find it."""
        return {
            "WARDSTREAM_BOOTSTRAP": self.bootstrap,
            "WARDSTREAM_TRITON_URL": self.triton_url,
            "WARDSTREAM_REPLICATION": str(self.replication),
            "WARDSTREAM_MIN_ISR": str(self.min_isr),
            "WARDSTREAM_PARTITIONS": str(partitions()),
        }


def partitions() -> int:
    """Partitions of the local topics: the setting, or two for each core. Each costs a batch of its own on every hop."""
    return load().partitions or min(2 * (os.cpu_count() or 1), max(topic.partitions for topic in TOPICS))


@contextmanager
def stack(folder: Path, brokers: int = 1) -> Iterator[Stack]:
    """Start both in `folder`, make the topics, and stop both at the end, whatever happens."""
    with LocalKafka(folder / "kafka", brokers) as kafka, LocalTriton(folder / "triton", MODEL_REPOSITORY) as triton:
        triton.supervise()
        yield _with_topics(kafka, triton.url)


def _with_topics(kafka: LocalKafka, triton_url: str) -> Stack:
    made = Stack(kafka.bootstrap, triton_url, kafka.brokers, kafka.replication, kafka.min_isr)
    create_topics(settings_for(made))
    return made


def settings_for(made: Stack) -> Settings:
    """The process's settings, pointed at this stack."""
    return load({**os.environ, **made.environment()})


def up(brokers: int) -> int:
    """Start both below `home` and leave them running; says how services find them."""
    home = load().home
    if LocalKafka.attach(home / "kafka") or running_endpoint(home / "triton"):
        print("wardstream up: something runs already; `wardstream down` stops it")
        return 1
    kafka = LocalKafka(home / "kafka", brokers, port=9092 if brokers == 1 else None).start()
    triton = LocalTriton(home / "triton", MODEL_REPOSITORY)
    triton.start()
    made = _with_topics(kafka, triton.url)
    print("\nServices find them by:")
    for name, value in made.environment().items():
        print(f"  export {name}={value}")
    return 0


def down() -> int:
    """Stop what `up` started; exit status 0 also when nothing ran."""
    home, began = load().home, time.monotonic()
    kafka = LocalKafka.attach(home / "kafka")
    if kafka:
        kafka.stop()
    triton = stop_left_over(home / "triton")
    stopped = [name for name, was in (("Kafka", kafka), ("Triton", triton)) if was]
    print(f"stopped {' and '.join(stopped)} in {time.monotonic() - began:.1f} s" if stopped else "nothing was running")
    return 0
