from cosim.agents.dca.aggregator import DataCenterAggregator as DataCenterAggregator
