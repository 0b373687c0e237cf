"""Everything that refuses: the rules of the API server, of webhooks and of controllers. It knows no room."""

from mlinfra.admission.bounds import AtLeastOne, Count, Finite, NotNegative, Share, check
from mlinfra.admission.door import check_manifest, rule_problems, validate
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
    "check",
    "check_manifest",
    "refuse",
    "rule_problems",
    "validate",
]
