"""The platform on one machine: what `assay up`, `down`, `status` and `doctor` stand on.

* settings: home and ports, read once
* home: the lock, the version stamp, the generated secrets
* parts: which processes there are, how each is started and how it shows its health
* processes: start detached, find again, end with everything it started
* supervisor: brings parts and steps up in the right order, or nothing
* doctor: what could be wrong with this machine
* engine: the vector engine behind Qdrant's REST
* llm: a small language model behind an OpenAI-compatible server
"""
