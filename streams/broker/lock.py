"""Write the list of Kafka's jars, with sizes and SHA-256 sums: `python -m streams.broker.lock`.

Run it after a change of `KAFKA_VERSION`. It resolves the dependency tree from the POMs, fetches every jar and
writes the list that `jars.py` trusts; look at the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from streams.broker.jars import KAFKA_VERSION, LOCK_FILE, maven_context

# slf4j-simple: the logging back-end, which Kafka's own POM leaves to the distribution.
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")


def write_lock() -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = maven_context(Path(folder))
        roots = [context.create_dependency(root) for root in ROOTS]
        direct, transitive = context.resolver.resolve(roots)
        lines = []
        for dependency in [*direct, *transitive]:
            jar = dependency.artifact.resolve().read_bytes()
            name = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
            lines.append(f"{name} {hashlib.sha256(jar).hexdigest()} {len(jar)}\n")
    LOCK_FILE.write_text("".join(sorted(lines)))


if __name__ == "__main__":
    write_lock()
