"""Search with nothing but confluent-kafka: search.py HOST:PORT TEXT [PREFIX]."""

import json
import sys
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

brokers, text, *prefix = sys.argv[1:]
queries, results = ((prefix or ["trieflow."])[0] + name for name in ("queries", "results"))
query_id = str(uuid.uuid4())

# Read the answers from where they end now, then ask: the answer cannot be missed.
consumer = Consumer({"bootstrap.servers": brokers, "group.id": query_id})
places = [TopicPartition(results, p) for p in consumer.list_topics(results).topics[results].partitions]
consumer.assign([TopicPartition(results, p.partition, consumer.get_watermark_offsets(p)[1]) for p in places])
producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})
producer.produce(queries, json.dumps({"text": text, "top_k": 5}), key=query_id)
producer.flush()
while (answer := consumer.poll(10)) is not None:
    if not answer.error() and answer.key().decode() == query_id:
        for hit in json.loads(answer.value())["hits"]:
            print(
                hit["position"], hit["document_id"], f"{hit['score']:.3f}", hit["semantic_id"], hit["title"]
            )
        break
else:
    sys.exit("no answer within 10 s")
consumer.close()
