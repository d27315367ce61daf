"""Files to text, in a process of its own that knows no secret and no network.

* records  - the document, its sections, the limits, the one error
* formats  - is the file what its name says? then the right reader
* markdown - md and txt, front matter; html; tables - csv; pdf
* process  - the parent's side: hands over bytes, waits so long and no longer
* worker   - the child's side
"""
