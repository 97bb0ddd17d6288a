"""Kafka: the topics, their messages, the engine that runs steps over them, and dead letters."""
