"""What happened, so that nobody can deny it later, and the content it speaks of, so that it can be erased.

* log: intent and outcome of every call, durable before they are acknowledged
* appender: one file, one writer thread, one fsync for many entries
* recovery: the log of a process that died: torn tail cut, orphans closed
* vault: content encrypted per tenant and subject; erasing destroys a key
"""
