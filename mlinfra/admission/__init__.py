"""Everything that refuses: the rules of the API server, of webhooks and of controllers. It knows no room."""

from mlinfra.admission.bounds import AtLeastOne, Count, Finite, NotNegative, Share, check
from mlinfra.admission.door import accepted, check_manifest, full_name, rule_problems, validate
from mlinfra.admission.rules import ApiWarning, Field, Invalid, Problem, refuse

__all__ = [
    "ApiWarning",
    "AtLeastOne",
    "Count",
    "Field",
    "Finite",
    "Invalid",
    "NotNegative",
    "Problem",
    "Share",
    "accepted",
    "check",
    "check_manifest",
    "full_name",
    "refuse",
    "rule_problems",
    "validate",
]
