"""Sample data for demos, gates and regressions; its data card is sample/README.md.

* sample  - documents of three invented companies, ground truth, prompts: data only
* make    - writes the made part of it anew
"""
