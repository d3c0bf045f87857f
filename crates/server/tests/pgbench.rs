//! pgbench through the proxy: 50 clients over a pool of 20, in each of its query modes.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::Pgbench;
use world::{TWO_CORES, World};

fn world() -> World {
    let world = World::start(0, TWO_CORES);
    Pgbench::initialize(world.node("coordinator").address(), 5).unwrap();
    world
}

fn runs(world: &World, mode: &str, more: &[&str], transactions: u32) {
    let each = transactions.to_string();
    let arguments = [&["-n", "-c", "50", "-t", &each, "-M", mode], more].concat();
    let report = world.pgbench(&arguments);
    let expected = u64::from(transactions) * 50;
    assert_eq!((report.transactions, report.failed), (expected, 0), "-M {mode} {more:?}");
    let backends = world.backends_at("coordinator");
    assert!(backends <= 20, "{backends} backends, and the pool's size is 20");
}

#[test]
fn every_transaction_of_select_only_succeeds_in_every_mode() {
    let world = world();
    for mode in ["simple", "extended", "prepared"] {
        runs(&world, mode, &["-S", "-j", "2"], 500);
    }
}

#[test]
fn every_transaction_of_tpc_b_succeeds_in_every_mode_and_the_books_balance() {
    let world = world();
    for mode in ["simple", "extended", "prepared"] {
        // A thread for each client: pgbench prepares in a blocking call, so a client whose
        // thread also runs one that holds a backend would wait for itself.
        runs(&world, mode, &["-j", "50"], 60);
    }
    let sums = "select (select sum(abalance) from pgbench_accounts) = sum(delta), \
                (select sum(bbalance) from pgbench_branches) = sum(delta), count(*) \
                from pgbench_history";
    assert_eq!(world.node("coordinator").psql(sums).unwrap(), "t|t|9000");
}

#[test]
fn a_connection_for_each_transaction_works_too() {
    let world = world();
    runs(&world, "simple", &["-S", "-j", "2", "-C"], 10);
}
