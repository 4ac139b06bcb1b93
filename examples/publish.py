"""Publish a document with nothing but confluent-kafka: publish.py HOST:PORT ID TITLE [PREFIX]."""

import json
import sys

from confluent_kafka import Producer

brokers, document_id, title, *prefix = sys.argv[1:]
topic = (prefix or ["trieflow."])[0] + "documents"
# librdkafka's own default is another partitioner; a document in the wrong partition is rejected.
producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})
producer.produce(topic, json.dumps({"title": title, "tags": ["example"]}), key=document_id)
producer.flush()
print(f"published {document_id}")
