"""Everything that refuses: the rules of the API server, of webhooks and of controllers. It knows no room."""

from mlinfra.admission.door import check_manifest, rule_problems, validate
from mlinfra.admission.rules import ApiWarning, Field, Invalid, Problem, check

__all__ = ["ApiWarning", "Field", "Invalid", "Problem", "check", "check_manifest", "rule_problems", "validate"]
