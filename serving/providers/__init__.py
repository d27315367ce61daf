"""The doors to language models, one file a vendor, behind one port.

`base` is the port and its errors; `chain` builds the configured providers and asks them in order. `extractive`
answers with cited sentences of the passages, `scripted` from a script, `openai` over the network.
"""
