use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use super::world::World;

/// Transactions of one seed.
const EACH: u64 = 5000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Runs a seed. What goes wrong is told with what one needs to run it again.
fn run(seed: u64, transactions: u64) -> World {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(transactions)));
    if let Err(panic) = result {
        let said = panic.downcast_ref::<String>().map_or("a panic", String::as_str);
        eprintln!(
            "{}{said}\nafter {} transactions of seed {seed}; again: PGHERD_SIM_SEED={seed} cargo x sim",
            world.trace.told(),
            world.transactions,
        );
        // What is broken may not be dropped without another panic.
        std::mem::forget(world);
        resume_unwind(panic);
    }
    world
}

#[test]
fn a_proxy_keeps_its_promises() {
    let began = Instant::now();
    let total = number("PGHERD_SIM_TRANSACTIONS").unwrap_or(2000);
    let seeds: Vec<u64> = match number("PGHERD_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=total.div_ceil(EACH)).collect(),
    };
    let (mut transactions, mut calls, mut writes, mut cancelled) = (0, 0, 0, 0);
    for seed in &seeds {
        let world = run(*seed, EACH.min(total));
        transactions += world.transactions;
        calls += world.calls;
        writes += world.confirmed;
        cancelled += world.cancelled;
        println!(
            "seed {seed}: {} clients, {} logins, {} transactions, {} calls, {} deaths, dismissed {:?}",
            world.clients.len(),
            world.logins,
            world.transactions,
            world.calls,
            world.deaths,
            world.dismissed
        );
    }
    println!(
        "{transactions} transactions ({writes} writes, {cancelled} cancelled) from {} seeds, {calls} \
         calls of the loops, each checked, in {:.1?}",
        seeds.len(),
        began.elapsed()
    );
}

#[test]
fn a_seed_says_all() {
    let [first, second] = [0, 1].map(|_| {
        let world = run(7, 1000);
        (world.transactions, world.calls, world.trace.count, world.trace.digest)
    });
    assert_eq!(first, second);
}
