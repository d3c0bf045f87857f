//! What `status` and `up` show of a node.

use std::io::{self, Write};

use pgherd_lab::node::Health;
use pgherd_lab::{Node, Role};
use serde::Serialize;

/// One node, with the names that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    name: &'a str,
    role: Role,
    shard: Option<u16>,
    host: &'a str,
    port: u16,
    pid: Option<u32>,
    state: Health,
    // Whether a replica has become a primary since the cluster was made.
    promoted: bool,
}

impl<'a> Row<'a> {
    /// Asks the node how it is.
    pub(super) fn of(node: &'a Node) -> Self {
        let Node { name, role, shard, host, port, .. } = node;
        let state = node.health();
        let promoted = *role == Role::Replica
            && state == Health::Ready
            && node.psql("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f");
        let (role, shard, port) = (*role, *shard, *port);
        Self { name, role, shard, host, port, pid: node.pid(), state, promoted }
    }
}

/// Prints a table with a heading.
pub(super) fn print(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("NODE".len());
    let heading = ["NODE", "ROLE", "SHARD", "ADDRESS", "PID", "STATE"];
    let [node, role, shard, address, pid, state] = heading;
    writeln!(out, "{node:width$}  {role:11}  {shard:5}  {address:15}  {pid:>8}  {state}")?;
    for row in rows {
        let none_or = |number: Option<u32>| number.map_or("-".to_owned(), |it| it.to_string());
        let (name, role) = (row.name, row.role.as_str());
        let (shard, pid) = (none_or(row.shard.map(u32::from)), none_or(row.pid));
        let address = format!("{}:{}", row.host, row.port);
        let state = row.state.as_str();
        let promoted = if row.promoted { ", promoted" } else { "" };
        writeln!(
            out,
            "{name:width$}  {role:11}  {shard:5}  {address:15}  {pid:>8}  {state}{promoted}"
        )?;
    }
    Ok(())
}
