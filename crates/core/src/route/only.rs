//! Routes where there is nothing to choose from.

use super::{Loads, QuerySpec, Route, RoutePolicy, SessionState, route};
use crate::balance::Balancer;
use crate::sql::QueryType;
use crate::topology::Topology;

/// Where statements run in a cluster of one node, which is the same at any time: [`route`]'s answers,
/// kept.
///
/// ```
/// use pgherd_core::QueryType;
/// use pgherd_core::route::{OnlyRoutes, QuerySpec, RoutePolicy};
/// use pgherd_core::shard::ShardFunction;
/// use pgherd_core::topology::{Node, NodeRole, Topology};
///
/// let main = Node::new("main", "db.example.com", 5432, NodeRole::Coordinator, None);
/// let topology = Topology::new(vec![main]).unwrap();
/// let policy = RoutePolicy::new(ShardFunction::Md5, 0, topology.shard_count()).unwrap();
/// let only = OnlyRoutes::of(&topology, &policy).unwrap();
/// let read = only.route(&QuerySpec::new(QueryType::Read)).unwrap();
/// assert_eq!(topology.node(read.node).name, "main");
/// assert!(only.route(&QuerySpec::new(QueryType::Read).with_key(7)).is_none());
/// ```
#[derive(Debug, Clone)]
pub struct OnlyRoutes([Route; QueryType::ALL.len()]);

impl OnlyRoutes {
    /// Of a cluster with one node; `None` for one with more, or where a statement has nowhere to run.
    pub fn of(topology: &Topology, policy: &RoutePolicy) -> Option<Self> {
        if topology.nodes().len() > 1 {
            return None;
        }
        let loads = Loads { balancer: &Balancer::new(policy.balance, 1, 0), busy: &|_| 0 };
        let found = |query_type| {
            route(&QuerySpec::new(query_type), SessionState::default(), topology, policy, &loads)
        };
        let [read, write, ddl, distributed] = QueryType::ALL.map(found);
        Some(Self([read.ok()?, write.ok()?, ddl.ok()?, distributed.ok()?]))
    }

    /// Where this runs; `None` for what names a shard, which [`route`] tells that there are none.
    pub fn route(&self, query: &QuerySpec) -> Option<Route> {
        query.shard_by.is_none().then(|| self.0[query.query_type as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardFunction;
    use crate::topology::{Node, NodeRole};

    fn cluster(roles: &[NodeRole]) -> (Topology, RoutePolicy) {
        let node = |(at, role): (usize, &NodeRole)| {
            Node::new(format!("n{at}"), "localhost", 5432, *role, None)
        };
        let topology = Topology::new(roles.iter().enumerate().map(node).collect()).unwrap();
        let policy = RoutePolicy::new(ShardFunction::Md5, 0, topology.shard_count()).unwrap();
        (topology, policy)
    }

    #[test]
    fn each_is_the_one_that_would_be_found() {
        for stays in [true, false] {
            let (topology, mut policy) = cluster(&[NodeRole::Coordinator]);
            policy.read_from_replicas = !stays;
            let only = OnlyRoutes::of(&topology, &policy).unwrap();
            let loads = Loads { balancer: &Balancer::new(policy.balance, 1, 0), busy: &|_| 0 };
            for query_type in QueryType::ALL {
                let spec = QuerySpec::new(query_type);
                let found = route(&spec, SessionState::default(), &topology, &policy, &loads);
                assert_eq!(only.route(&spec), found.ok(), "{query_type}");
            }
        }
    }

    #[test]
    fn where_there_are_two_nodes_there_are_none() {
        let (topology, policy) = cluster(&[NodeRole::Coordinator, NodeRole::Replica]);
        assert!(OnlyRoutes::of(&topology, &policy).is_none());
    }
}
