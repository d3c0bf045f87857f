//! `/metrics`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pgherd_core::metrics::{BUCKETS, Exposition, Format, Metric, Number, catalogue as all};
use pgherd_core::topology::{Circuit, NodeState, Topology};

use super::{Web, health};
use crate::admin::Pause;
use crate::admin::report::{BackendCounts, Report};
use crate::admin::show::View;
use crate::databases::Database;
use crate::reactor::mio_driver::resident;
use crate::reactor::{CLASSES, Count, NodeCounts, Proxy, Tally, Times};
use crate::session::LoginFailure;

/// Everything there is to tell, in the order of the catalogue.
pub(super) fn written(web: &Web, format: Format, reports: &[Report], now: Instant) -> String {
    let view = View { proxy: &web.proxy, reports, now, left: None };
    let mut out = Exposition::new(format);
    process(&mut out, web, &view);
    pools(&mut out, &view);
    databases(&mut out, &view);
    nodes(&mut out, &view, &web.monitor.snapshot());
    out.finish()
}

fn one(out: &mut Exposition, metric: &'static Metric, value: impl Into<Number>) {
    out.family(metric).value(&[], value);
}

fn process(out: &mut Exposition, web: &Web, view: &View<'_>) {
    let Proxy { admin, cores, pins, .. } = &*web.proxy;
    out.family(&all::BUILD).value(&[env!("CARGO_PKG_VERSION")], 1u64);
    one(out, &all::START_TIME, admin.started_at());
    one(out, &all::WORKERS, *cores);
    let resident = resident();
    let mut memory = out.family(&all::RESIDENT);
    if let Some(resident) = resident {
        memory.value(&[], resident);
    }
    one(out, &all::READY, health::why_not_ready(web).is_none());
    one(out, &all::DRAINING, admin.is_ending());
    one(out, &all::PAUSED, admin.pause() != Pause::None);
    one(out, &all::GENERATION, web.monitor.snapshot().generation().0);
    let mut clients = out.family(&all::CLIENTS);
    clients.value(&["logging_in"], view.sum(|report| report.logging_in));
    clients.value(&["logged_in"], view.sum(|report| report.clients));
    clients.value(&["console"], view.sum(|report| report.consoles));
    one(out, &all::CLIENTS_LIMIT, admin.settings().listen.max_clients);
    client_counts(out, view);
    certificates(out, &web.proxy);
    one(out, &all::PINS, pins.all().len());
}

fn client_counts(out: &mut Exposition, view: &View<'_>) {
    let cores = view.proxy.counts.clients();
    let mut family = out.family(&all::CLIENT_ERRORS);
    for (place, class) in CLASSES.into_iter().enumerate() {
        family.value(&[class], cores.iter().map(|core| core.errors[place].get()).sum::<u64>());
    }
    let mut family = out.family(&all::FAILED_LOGINS);
    for why in LoginFailure::ALL {
        let failed = cores.iter().map(|core| core.failed_logins[why as usize].get());
        family.value(&[why.name()], failed.sum::<u64>());
    }
}

fn certificates(out: &mut Exposition, proxy: &Proxy) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    let mut family = out.family(&all::CERTIFICATE);
    let shown =
        [("clients", proxy.client_tls.expires_at()), ("nodes", proxy.node_tls.expires_at())];
    for (to, expires_at) in shown {
        if let Some(at) = expires_at {
            family.value(&[to], at as f64 - now);
        }
    }
}

/// Backends by what they do, in the console's words.
fn by_state(backends: &BackendCounts) -> [(&'static str, usize); 6] {
    let BackendCounts { active, being_canceled, idle, used, tested, login, .. } = *backends;
    [
        ("active", active),
        ("being_canceled", being_canceled),
        ("idle", idle),
        ("used", used),
        ("tested", tested),
        ("login", login),
    ]
}

fn pools(out: &mut Exposition, view: &View<'_>) {
    let pools: Vec<_> = view.pools().collect();
    let mut family = out.family(&all::POOL_CLIENTS);
    for pool in &pools {
        family.value(&[pool.database, pool.user, "active"], pool.counts.clients);
        family.value(&[pool.database, pool.user, "waiting"], pool.counts.waiting);
    }
    let mut family = out.family(&all::POOL_BACKENDS);
    for pool in &pools {
        for (state, count) in by_state(&pool.counts.backends) {
            family.value(&[pool.database, pool.user, state], count);
        }
    }
    let mut family = out.family(&all::POOL_PINNED);
    for pool in &pools {
        family.value(&[pool.database, pool.user], pool.counts.backends.pinned);
    }
    let mut family = out.family(&all::POOL_WAIT);
    for pool in &pools {
        let waited = view.since(pool.counts.oldest_wait).as_secs_f64();
        family.value(&[pool.database, pool.user], waited);
    }
    let mut family = out.family(&all::POOL_CANCELS);
    for pool in &pools {
        let [asked, unasked] = pool.counts.cancels;
        family.value(&[pool.database, pool.user, "active"], asked);
        family.value(&[pool.database, pool.user, "waiting"], unasked);
    }
}

/// A number of a database.
type OfDatabase = fn(&Database, &View<'_>) -> Number;

const OF_DATABASES: [(&Metric, OfDatabase); 4] = [
    (&all::DATABASE_CLIENTS, |database, _| database.client_count().into()),
    (&all::DATABASE_POOL_SIZE, |database, view| {
        let all = view.proxy.admin.settings();
        database.settings().pool_size.unwrap_or(all.pool.size).into()
    }),
    (&all::DATABASE_PAUSED, |database, _| database.is_paused().into()),
    (&all::DATABASE_DISABLED, |database, _| database.is_disabled().into()),
];

/// A number of what was done for a database.
type OfTally = fn(&Tally) -> Number;

const OF_TALLIES: [(&Metric, OfTally); 12] = [
    (&all::DATABASE_LOGINS, |tally| tally.logins.into()),
    (&all::DATABASE_LEASES, |tally| tally.assignments.into()),
    (&all::DATABASE_TRANSACTIONS, |tally| tally.transactions.into()),
    (&all::DATABASE_QUERIES, |tally| tally.queries.into()),
    (&all::DATABASE_RECEIVED, |tally| tally.received.into()),
    (&all::DATABASE_SENT, |tally| tally.sent.into()),
    (&all::DATABASE_TRANSACTION_TIME, |tally| seconds(tally.transaction_nanos)),
    (&all::DATABASE_QUERY_TIME, |tally| seconds(tally.query_nanos)),
    (&all::DATABASE_WAIT_TIME, |tally| seconds(tally.wait_nanos)),
    (&all::DATABASE_CLIENT_PARSES, |tally| tally.client_parses.into()),
    (&all::DATABASE_SERVER_PARSES, |tally| tally.server_parses.into()),
    (&all::DATABASE_BINDS, |tally| tally.binds.into()),
];

fn seconds(nanos: u64) -> Number {
    (nanos as f64 / 1e9).into()
}

fn databases(out: &mut Exposition, view: &View<'_>) {
    let databases = view.proxy.databases.all();
    for (metric, value) in OF_DATABASES {
        let mut family = out.family(metric);
        for database in &databases {
            family.value(&[&database.name], value(database, view));
        }
    }
    let tallies = view.tallies();
    for (metric, value) in OF_TALLIES {
        let mut family = out.family(metric);
        for (database, sum) in &tallies {
            family.value(&[database], value(&sum.total));
        }
    }
}

/// What the cores have counted of a node.
type Counted<T> = fn(&NodeCounts) -> &T;

const OF_NODES: [(&Metric, Counted<Count>); 5] = [
    (&all::NODE_LEASES, |counts| &counts.leases),
    (&all::NODE_OPENS, |counts| &counts.opens),
    (&all::NODE_FAILED_OPENS, |counts| &counts.failed_opens),
    (&all::NODE_RETRIES, |counts| &counts.retries),
    (&all::NODE_LOST_CLIENTS, |counts| &counts.errors),
];

const TIMES_OF_NODES: [(&Metric, Counted<Times>); 3] = [
    (&all::NODE_QUERY_DURATION, |counts| &counts.batch_times),
    (&all::NODE_TRANSACTION_DURATION, |counts| &counts.transaction_times),
    (&all::NODE_WAIT_DURATION, |counts| &counts.wait_times),
];

fn nodes(out: &mut Exposition, view: &View<'_>, topology: &Topology) {
    beliefs(out, topology);
    let nodes = topology.nodes().iter();
    let sums: Vec<_> = nodes.map(|node| (node.name.as_str(), view.node(node.id))).collect();
    let mut family = out.family(&all::NODE_BACKENDS);
    for (node, sum) in &sums {
        for (state, count) in by_state(&sum.backends) {
            family.value(&[node, state], count);
        }
    }
    let mut family = out.family(&all::NODE_WAITING);
    for (node, sum) in &sums {
        family.value(&[node], sum.waiting);
    }
    for (metric, count) in OF_NODES {
        let mut family = out.family(metric);
        for node in topology.nodes() {
            let counts = view.proxy.counts.of_node(node.id.index());
            family.value(&[&node.name], counts.map(|counts| count(counts).get()).sum::<u64>());
        }
    }
    for (metric, times) in TIMES_OF_NODES {
        let mut family = out.family(metric);
        for node in topology.nodes() {
            let (mut buckets, mut nanos) = ([0; BUCKETS], 0u64);
            for counts in view.proxy.counts.of_node(node.id.index()) {
                let (more, more_nanos) = times(counts).get();
                buckets.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                nanos = nanos.wrapping_add(more_nanos);
            }
            family.times(&[&node.name], &buckets, nanos);
        }
    }
    let mut family = out.family(&all::GROUP_HAS_PRIMARY);
    for group in topology.groups() {
        family.value(&[&group.id.to_string()], topology.has_primary(group.id));
    }
}

/// What the health monitor believes of the nodes.
fn beliefs(out: &mut Exposition, topology: &Topology) {
    let nodes = topology.nodes();
    let mut family = out.family(&all::NODE);
    for node in nodes {
        let (group, role) = (node.group().to_string(), topology.role(node.id));
        let port = node.port.to_string();
        family.value(&[&node.name, &group, role.as_str(), &node.host, &port], 1u64);
    }
    let mut family = out.family(&all::NODE_UP);
    for node in nodes {
        let is_up = topology.health(node.id).is_healthy() && !topology.is_fenced(node.id);
        family.value(&[&node.name], is_up);
    }
    let mut family = out.family(&all::NODE_STATE);
    for node in nodes {
        let is = topology.health(node.id).state;
        for (state, name) in STATES {
            family.value(&[&node.name, name], is == state);
        }
    }
    let mut family = out.family(&all::NODE_CIRCUIT);
    for node in nodes {
        let is = topology.health(node.id).state.circuit();
        for (circuit, name) in CIRCUITS {
            family.value(&[&node.name, name], is == circuit);
        }
    }
    let mut family = out.family(&all::NODE_FENCED);
    for node in nodes {
        family.value(&[&node.name], topology.is_fenced(node.id));
    }
    let mut family = out.family(&all::NODE_LAG);
    for node in nodes {
        if let Some(lag) = topology.health(node.id).lag_bytes {
            family.value(&[&node.name], lag);
        }
    }
    let mut family = out.family(&all::NODE_RTT);
    for node in nodes {
        if let Some(rtt) = topology.health(node.id).rtt {
            family.value(&[&node.name], rtt.as_secs_f64());
        }
    }
    let mut family = out.family(&all::NODE_SHARE);
    for node in nodes {
        family.value(&[&node.name], f64::from(topology.health(node.id).share) / 100.0);
    }
    let mut family = out.family(&all::NODE_TIMELINE);
    for node in nodes {
        if let Some(timeline) = topology.health(node.id).timeline {
            family.value(&[&node.name], timeline);
        }
    }
}

const STATES: [(NodeState, &str); 5] = [
    (NodeState::Unknown, "unknown"),
    (NodeState::Up, "up"),
    (NodeState::Suspect, "suspect"),
    (NodeState::Down, "down"),
    (NodeState::Probation, "probation"),
];

const CIRCUITS: [(Circuit, &str); 3] =
    [(Circuit::Closed, "closed"), (Circuit::Open, "open"), (Circuit::Probation, "probation")];
