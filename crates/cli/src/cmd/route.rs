//! `pgherd route`: tells where a statement would run, and why.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pgherd_core::balance::Balancer;
use pgherd_core::route::{Loads, QuerySpec, RoutePolicy, SessionState, route};
use pgherd_core::shard::KeyType;
use pgherd_core::sql::{Classified, Classifier};
use pgherd_core::{Key, QueryType, Settings, Topology};

use crate::settings;

/// What is routed to when no cluster is given: the shape that `make demo` brings up.
const EXAMPLE: &str = r#"
node = [
    { host = "coordinator", role = "coordinator" },
    { host = "coordinator-r1", role = "replica" },
    { host = "coordinator-r2", role = "replica" },
    { host = "shard-0", role = "worker", shard = 0 },
    { host = "shard-1", role = "worker", shard = 1 },
]
user = [{ name = "app" }]
"#;

/// Tell where a statement would run, and which rule decides
///
/// Connects to nothing: every node counts as healthy.
#[derive(Debug, Args)]
pub(crate) struct Route {
    /// The settings file; without one, the environment; without that, an example cluster
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The shard key that the program would give along
    #[arg(long, allow_hyphen_values = true)]
    key: Option<String>,
    /// The type of the key: int4, int8, text, uuid or bytea
    #[arg(long = "type", value_name = "TYPE", default_value = "text", requires = "key")]
    key_type: KeyType,
    /// Route as read, write, ddl or distributed, whatever the statement is
    #[arg(long = "as", value_name = "CLASS")]
    class: Option<QueryType>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The statement
    sql: String,
}

impl Route {
    /// Prints class, group, role, nodes and rule.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let settings = self.settings()?;
        let topology = settings.topology()?;
        let policy = settings.route_policy()?;
        let classifier = Classifier::new(settings.routing.read_only_functions.iter());
        let class = classifier.classify(&self.sql);
        let mut query = QuerySpec::new(self.class.unwrap_or(class.query_type));
        if let Some(key) = &self.key {
            query = query.with_key(Key::parse(self.key_type, key)?);
        }
        let balancer = Balancer::new(policy.balance, topology.nodes().len(), 0);
        let loads = Loads { balancer: &balancer, busy: &|_| 0 };
        let route = route(&query, SessionState::default(), &topology, &policy, &loads)
            .context("cannot route")?;
        let answer =
            Answer { class: &class, query: &query, route, topology: &topology, policy: &policy };
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &answer.json())?;
            writeln!(out)?;
        } else {
            answer.print(&mut out)?;
        }
        Ok(())
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        if let Some(settings) = settings::load(self.config.as_deref())? {
            return Ok(settings);
        }
        eprintln!(
            "no --config and no COORDINATOR_HOST: an example cluster with two replicas of the \
             coordinator and two shards"
        );
        Ok(Settings::from_toml(EXAMPLE, "example")?)
    }
}

struct Answer<'a> {
    class: &'a Classified,
    query: &'a QuerySpec,
    route: pgherd_core::route::Route,
    topology: &'a Topology,
    policy: &'a RoutePolicy,
}

impl Answer<'_> {
    fn nodes(&self) -> Vec<&str> {
        let name = |id| self.topology.node(id).name.as_str();
        self.route
            .candidates(self.topology, self.policy, SessionState::default())
            .map(name)
            .collect()
    }

    fn leaves(&self) -> Option<String> {
        self.class.leaves_state.map(|state| state.to_string())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "class": self.query.query_type,
            "statements": self.class.statements,
            "group": self.route.group.to_string(),
            "role": self.route.role,
            "nodes": self.nodes(),
            "rule": self.route.rule,
            "reason": self.route.rule.to_string(),
            "leaves_state": self.leaves(),
            "parse_error": self.class.parse_error.as_deref(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "class   {}", self.query.query_type)?;
        writeln!(out, "group   {}", self.route.group)?;
        writeln!(out, "role    {}", self.route.role)?;
        writeln!(out, "nodes   {}", self.nodes().join(", "))?;
        writeln!(out, "rule    {}", self.route.rule)?;
        if let Some(error) = &self.class.parse_error {
            writeln!(out, "parser  {error}; the primary will say what is wrong")?;
        } else if let Some(leaves) = self.leaves() {
            writeln!(out, "leaves  {leaves}")?;
        }
        Ok(())
    }
}
