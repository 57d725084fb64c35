"""How a window is agreed on; modes by name."""

from cosim.coordination.base import Coordination
from cosim.coordination.centralized import Centralized
from cosim.coordination.decentralized import Decentralized
from cosim.coordination.uncoordinated import Uncoordinated
from cosim.coordination.welfare import Welfare

MODES: dict[str, type[Coordination]] = {
    "uncoordinated": Uncoordinated,
    "decentralized": Decentralized,
    "welfare": Welfare,
    "centralized": Centralized,
}
