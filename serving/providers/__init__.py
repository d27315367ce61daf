"""The doors to language models, one file a vendor, and what stands around each, behind one port.

* base: the port and its errors; vendors: makes the configured providers
* anthropic, openai (with openai_wire): the vendors' doors; network, transport, sse, structured, replies: shared by both
* extractive (with candidates, relevance, series): cited sentences of the passages; scripted: from a script
* chain: Fallback(Hedge(Repair(Retry(Limit(Breaker(Metered(vendor)))))), ...); the wrappers are fallback, hedge, repair,
  retry, limit, breaker and metering, with wrapper and traffic_budget below them
* board, slot, circuit, latency: what all workers of a node know about a provider; health: the report and the pings
* langchain, langchain_chat (with loop_thread): LangChain's models as providers, and the chain as a LangChain model
* tokens: estimates where nobody counts
"""
