"""What `assay up` finds out before it stops or starts anything: would the API start with these settings?"""

from pathlib import Path

from infra.local.parts import base_environment
from infra.local.settings import LocalSettings
from serving.settings import ServingSettings


def api_settings(local: LocalSettings) -> ServingSettings:
    """The settings as the API of this home reads them, whatever folder the command is run in.

    Raises:
        ValidationError: a variable of the environment cannot be used.
    """
    policies = Path(base_environment(local)["ASSAY_POLICIES"])
    return ServingSettings().model_copy(update={"home": local.root, "policies": policies})


def require_startable(settings: ServingSettings) -> None:
    """Refuse what the API would refuse, so that one that runs well is not stopped for one that cannot start.

    The database is left out: `up` migrates it before the API starts. Guards and key are looked at once `up` has made
    what they need.

    Raises:
        InvalidInput: a policy, a provider, a guard, the key or the collector's address; says what to change.
    """
    # Here and not above: the serving code is heavy, and doctor's settings need none of it.
    from serving.wiring import require_settings

    require_settings(settings)
    is_prepared = (settings.home / "VERSION").exists()
    if is_prepared:
        settings.require_guards()
    if is_prepared or settings.assay_master_key is not None:
        _ = settings.master_key  # reading it is the check
