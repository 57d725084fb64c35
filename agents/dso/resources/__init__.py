"""What the operator may dispatch: one file a kind, and the contract that a user's own kind fulfils as well."""

from cosim.agents.dso.resources.kinds import resources_of as resources_of
from cosim.agents.dso.resources.resource import Resource as Resource
from cosim.agents.dso.resources.resource import ResourceSpec as ResourceSpec
from cosim.agents.dso.resources.resource import Site as Site
from cosim.agents.dso.resources.resource import Symbol as Symbol
from cosim.agents.dso.resources.statement import Expression as Expression
from cosim.agents.dso.resources.statement import Statement as Statement
