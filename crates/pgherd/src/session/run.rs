//! The loop over tries.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherd_core::route::{
    Loads, OwnWrites, QuerySpec, Route, RoutePolicy, Rule, SessionState, route,
};
use pgherd_core::sql::QueryType;
use pgherd_core::{GroupId, NodeId, NodeRole, Topology};
use pgherd_wire::sqlstate;
use tracing::{debug, warn};

use super::act::Act;
use super::retry::{Failed, is_node_gone};
use super::{Ask, Progress};
use crate::pool::TakenAt;
use crate::{DistributedPool, Error, Lease, Session};

/// Where the tries of one statement have been.
#[derive(Default)]
struct Tries {
    // Tries so far, failed all of them.
    count: u32,
    nodes: Vec<NodeId>,
    // A standby has refused the statement: no other will take it.
    needs_primary: bool,
    // What replicas have to have replayed.
    own_writes: Option<OwnWrites>,
}

/// What routing has found.
enum Choice {
    Found(Route),
    /// A group that has no primary, which is needed.
    Lacks(GroupId),
}

/// An acquire that has to wait, or where a hook has a say, or that fails.
struct Begun {
    tries: Tries,
    first: Result<Choice, Error>,
}

impl DistributedPool {
    /// Runs one statement, as often as it may be tried, within its time.
    pub(crate) async fn run_statement<A: Act>(
        &self,
        ask: &Ask,
        sql: &str,
        act: &A,
    ) -> Result<A::Answer, Error> {
        let started = Instant::now();
        let query_type = ask.query.query_type;
        self.counting().count(query_type);
        self.budget().earn();
        let progress = Progress::of(ask);
        let outcome = progress.within(pin!(self.try_statement(ask, sql, act, &progress))).await;
        self.counting().finish(query_type, started.elapsed(), outcome.is_err());
        outcome
    }

    async fn try_statement<A: Act>(
        &self,
        ask: &Ask,
        sql: &str,
        act: &A,
        progress: &Progress,
    ) -> Result<A::Answer, Error> {
        let query_type = ask.query.query_type;
        let mut tries = Tries::of(ask);
        loop {
            let route = match self.choose(&ask.query, &mut tries).await {
                Ok(chosen) => chosen,
                Err(error) => return Err(error.after_tries(tries.count + 1)),
            };
            ask.note(route);
            let error = match self.run_once(ask, route, sql, act, &tries, progress).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error.of_read(query_type == QueryType::Read),
            };
            self.wait_for_next_try(query_type, sql, route, &mut tries, error, progress).await?;
        }
    }

    /// Borrows a backend for a caller, from another node where the first has none.
    /// `taken_at` is named when it is held for too long.
    pub(crate) async fn lease(&self, ask: &Ask, taken_at: TakenAt) -> Result<Lease, Error> {
        let begun = match self.lease_now(ask, taken_at) {
            Ok(lease) => return Ok(lease),
            Err(begun) => begun,
        };
        let progress = Progress::of(ask);
        progress.within(pin!(self.lease_in_time(ask, taken_at, begun, &progress))).await
    }

    /// The same in the time of something larger.
    pub(crate) async fn try_lease(
        &self,
        ask: &Ask,
        taken_at: TakenAt,
        progress: &Progress,
    ) -> Result<Lease, Error> {
        match self.lease_now(ask, taken_at) {
            Ok(lease) => {
                progress.waits_at(lease.pool(), 1);
                Ok(lease)
            }
            Err(begun) => self.lease_in_time(ask, taken_at, begun, progress).await,
        }
    }

    /// A lease of a backend that is there, as nearly always: without what it takes to wait. Otherwise
    /// how far it has come.
    fn lease_now(&self, ask: &Ask, taken_at: TakenAt) -> Result<Lease, Begun> {
        let mut tries = Tries::of(ask);
        let first = self.choose_now(&ask.query, &mut tries);
        if let Ok(Choice::Found(route)) = first
            && let Some(lease) = Lease::of_idle(self.node_pool(route.node), route, taken_at)
        {
            ask.note(route);
            return Ok(tries.lent(lease, ask));
        }
        Err(Begun { tries, first })
    }

    async fn lease_in_time(
        &self,
        ask: &Ask,
        taken_at: TakenAt,
        begun: Begun,
        progress: &Progress,
    ) -> Result<Lease, Error> {
        let Begun { mut tries, first } = begun;
        let mut choice = first?;
        loop {
            let route = self.found(&ask.query, &mut tries, choice).await?;
            ask.note(route);
            let pool = self.node_pool(route.node);
            progress.waits_at(pool, tries.count + 1);
            let error = match Lease::acquire(pool, route, taken_at).await {
                Ok(lease) => return Ok(tries.lent(lease, ask)),
                Err(error) => Error::from(error),
            };
            // Nothing was sent, so no text matters.
            let query_type = ask.query.query_type;
            self.wait_for_next_try(query_type, "", route, &mut tries, error, progress).await?;
            choice = self.choose_now(&ask.query, &mut tries)?;
        }
    }

    /// Where a first try of this would go now.
    pub(super) async fn route_now(&self, spec: &QuerySpec) -> Result<Route, Error> {
        self.choose(spec, &mut Tries::default()).await
    }

    async fn choose(&self, spec: &QuerySpec, tries: &mut Tries) -> Result<Route, Error> {
        let choice = self.choose_now(spec, tries)?;
        self.found(spec, tries, choice).await
    }

    /// Routes by the newest snapshot. What belongs on a primary is to wait while its group has none,
    /// unless there is no other node that could become it: then the attempt tells.
    fn choose_now(&self, spec: &QuerySpec, tries: &mut Tries) -> Result<Choice, Error> {
        if let Some(route) = self.only_routes().and_then(|only| only.route(spec)) {
            return Ok(Choice::Found(route));
        }
        let topology = self.health().peek();
        let route = self.route_by(spec, &topology, tries)?;
        let group = topology.group_of(route.node);
        let is_for_primary = route.node == group.primary;
        if !is_for_primary || group.replicas.is_empty() || topology.has_primary(group.id) {
            return Ok(Choice::Found(route));
        }
        Ok(Choice::Lacks(group.id))
    }

    /// The route of a choice, once there is a primary if it lacks one.
    async fn found(
        &self,
        spec: &QuerySpec,
        tries: &mut Tries,
        choice: Choice,
    ) -> Result<Route, Error> {
        let group = match choice {
            Choice::Found(route) => return Ok(route),
            Choice::Lacks(group) => group,
        };
        let limit = self.settings().routing.primary_wait;
        let topology = Box::pin(self.health().wait_for_primary(group, limit)).await?;
        self.route_by(spec, &topology, tries)
    }

    fn route_by(
        &self,
        spec: &QuerySpec,
        topology: &Topology,
        tries: &mut Tries,
    ) -> Result<Route, Error> {
        let busy =
            |node| u32::try_from(self.node_pool(node).backends().load().busy).unwrap_or(u32::MAX);
        let loads = Loads { balancer: self.balancer(), busy: &busy };
        let route = route(spec, tries.session(), topology, self.policy(), &loads)?;
        Ok(tries.redirect(route, topology, self.policy()))
    }

    async fn run_once<A: Act>(
        &self,
        ask: &Ask,
        route: Route,
        sql: &str,
        act: &A,
        tries: &Tries,
        progress: &Progress,
    ) -> Result<A::Answer, Error> {
        let (pool, attempt) = (self.node_pool(route.node), tries.count + 1);
        progress.waits_at(pool, attempt);
        let mut lease = match Lease::of_idle(pool, route, None) {
            Some(lease) => lease,
            None => Lease::acquire(pool, route, None).await?,
        };
        ask.bind(&mut lease, tries.needs_primary);
        progress.runs();
        let (node, group, rule) = (lease.node(), route.group, route.rule);
        debug!(node, %group, attempt, %rule, "statement routed");
        let asked = Instant::now();
        let answer = act.on(lease, sql).await?;
        let now = Instant::now();
        let latency = now.saturating_duration_since(asked);
        self.balancer().took(route.node, latency, now);
        self.counting().answered(route.node, latency);
        Ok(answer)
    }

    /// Waits for the turn of the next try.
    ///
    /// # Errors
    /// The error of the last one, when there is no next.
    async fn wait_for_next_try(
        &self,
        query_type: QueryType,
        sql: &str,
        route: Route,
        tries: &mut Tries,
        error: Error,
        progress: &Progress,
    ) -> Result<(), Error> {
        let was_refused = error.sqlstate() == Some(sqlstate::READ_ONLY_TRANSACTION);
        if was_refused && query_type == QueryType::Read && route.role == NodeRole::Replica {
            self.counting().misplaced().note(sql, self.node_pool(route.node).node());
        }
        let is_another_left = tries.is_another_left(route, &self.topology(), self.policy());
        let failed = Failed { cause: error.cause(), query_type, is_another_left };
        let may_retry = failed.may_retry(|| self.classify(sql));
        let Some(delay) = self.next_try(tries, route, may_retry, &error) else {
            return Err(error.after_tries(tries.count));
        };
        progress.failed(error);
        tokio::time::sleep(delay).await;
        progress.begins_anew();
        Ok(())
    }

    /// How long to wait for the next try; `None` when there is none.
    fn next_try(
        &self,
        tries: &mut Tries,
        route: Route,
        may_retry: bool,
        error: &Error,
    ) -> Option<Duration> {
        let node = route.node;
        tries.note(node, error);
        if error.sqlstate() == Some(sqlstate::READ_ONLY_TRANSACTION) {
            // It may have been the primary until now.
            self.health().probe_now(node);
        }
        if !may_retry {
            return None;
        }
        let delay = self.retry_config().delay(tries.count + 1, crate::random::fraction())?;
        let is_failover = route.role != NodeRole::Replica && is_node_gone(error);
        let may = self.may_try_again(node, is_failover);
        let node: &Arc<str> = self.node_pool(node).node();
        if !may {
            self.counting().count_refused_retry();
            warn!(%node, %error, "not tried again: retry.budget_ratio and budget_burst are used up");
            return None;
        }
        warn!(%node, tries = tries.count, ?delay, error = %error, "statement is tried again");
        self.counting().count_retry();
        Some(delay)
    }
}

impl DistributedPool {
    /// Asks the budget. It is not asked for what a primary has left behind, where another node may
    /// take its place: one that is gone has no load to be spared, and a failover is to be a wait
    /// and not an error.
    pub(super) fn may_try_again(&self, node: NodeId, is_failover: bool) -> bool {
        let has_others = !self.topology().group_of(node).replicas.is_empty();
        (is_failover && has_others) || self.budget().spend(Instant::now())
    }
}

impl Tries {
    fn of(ask: &Ask) -> Self {
        let is_read = ask.query.query_type == QueryType::Read;
        let own_writes = ask.session.as_ref().filter(|_| is_read).map(Session::written);
        Self { own_writes, ..Self::default() }
    }

    /// A lease that the last try has led to, made what was asked for.
    fn lent(&self, mut lease: Lease, ask: &Ask) -> Lease {
        lease.count_as(ask.query.query_type);
        ask.bind(&mut lease, self.needs_primary);
        let (node, Route { group, rule, .. }) = (lease.node(), lease.route());
        debug!(node, %group, attempt = self.count + 1, %rule, "backend lent");
        lease
    }

    fn session(&self) -> SessionState<'_> {
        SessionState { own_writes: self.own_writes.as_ref(), ..SessionState::default() }
    }

    fn note(&mut self, node: NodeId, error: &Error) {
        self.count += 1;
        self.nodes.push(node);
        self.needs_primary |= error.sqlstate() == Some(sqlstate::READ_ONLY_TRANSACTION);
    }

    fn is_another_left(&self, route: Route, topology: &Topology, policy: &RoutePolicy) -> bool {
        route
            .candidates(topology, policy, self.session())
            .any(|id| id != route.node && !self.nodes.contains(&id))
    }

    /// The same route to a node that was not tried yet, if there is one.
    fn redirect(&mut self, route: Route, topology: &Topology, policy: &RoutePolicy) -> Route {
        if self.nodes.is_empty() && !self.needs_primary {
            return route;
        }
        let to = |id: NodeId| {
            let role = topology.role(id);
            let rule = match (route.rule, role) {
                (Rule::ReadOnReplica, NodeRole::Coordinator) => Rule::ReadOnCoordinator,
                (Rule::KeyedReadOnReplica, NodeRole::Worker) => Rule::KeyedReadOnWorker,
                (rule, _) => rule,
            };
            Route { node: id, role, rule, ..route }
        };
        if self.needs_primary
            && let Some(group) = topology.group(route.group)
        {
            return to(group.primary);
        }
        let untried =
            route.candidates(topology, policy, self.session()).find(|id| !self.nodes.contains(id));
        match untried {
            Some(id) => to(id),
            None => {
                // All have had their turn: a new round.
                self.nodes.clear();
                route
            }
        }
    }
}
