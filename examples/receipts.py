"""Follow what becomes of documents, with nothing but confluent-kafka: receipts.py HOST:PORT [PREFIX].

Started again, it goes on where it was: the offsets of its group are kept by Kafka.
"""

import json
import sys

from confluent_kafka import Consumer

brokers, *prefix = sys.argv[1:]
topic = (prefix or ["trieflow."])[0] + "receipts"
consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": "receipts-example",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
consumer.subscribe([topic])
try:
    while True:
        message = consumer.poll(1)
        if message is not None and not message.error():
            receipt = json.loads(message.value())
            why = receipt.get("error", {}).get("code", "")
            print(receipt["document_id"], receipt["status"], receipt.get("semantic_id", ""), why, flush=True)
except KeyboardInterrupt:
    consumer.close()
