"""What a host can and cannot do for memory that shall follow, and what to change: facts in, findings out.

- `facts`: what is looked at, as values; any of them may have stayed unseen, with the reason
- `looking`: reads them from this host, or from a captured one's files
- `diagnosis`: a table of rules, pure: facts in, findings out; the rules are in `nodes`, `rights`, `features`,
  `memory`, `company`

Nothing here needs an agent or root, and nothing changes anything.
"""

from numaplace.doctor.diagnosis import diagnose
from numaplace.doctor.facts import Facts, Unseen
from numaplace.doctor.finding import Finding, State
from numaplace.doctor.looking import look

__all__ = ["Facts", "Finding", "State", "Unseen", "diagnose", "look"]
