"""What can go wrong while starting or stopping the platform; each message is one sentence for a person."""


class PlatformError(Exception):
    """The platform could not be started, stopped or read; says what to do."""


class HomeBusy(PlatformError):
    """Another `assay up` or `assay down` is at work on the same home."""


class PartFailed(PlatformError):
    """A process died or did not become healthy in time; the message names its log."""


class PortTaken(PlatformError):
    """A port is used by a process that is not ours."""
