"""Does learning work at all? The composed network, loss and optimizer are to learn four training pictures by heart.

Whoever cannot do that in two minutes has a problem that two days of training will not mend.
"""

from segexp.rehearsal.fit import LEARNED, Moment, Rehearsal, rehearse
from segexp.rehearsal.material import choose
from segexp.rehearsal.words import words

__all__ = ["LEARNED", "Moment", "Rehearsal", "choose", "rehearse", "words"]
