//! The programs of drivers in Rust. As drivers/python/report.py: each prints one JSON object a line, first
//! the driver's name and version, then what came of each operation.

mod sqlx;
mod tokio_postgres;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

/// A driver in Rust.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Program {
    TokioPostgres,
    Sqlx,
}

impl Program {
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        match self {
            Self::TokioPostgres => runtime.block_on(tokio_postgres::run()),
            Self::Sqlx => runtime.block_on(sqlx::run()),
        }
        Ok(())
    }
}

const CONNECTIONS: std::ops::RangeInclusive<i32> = 1..=20;
const TRANSACTIONS: i32 = 50;

const INTS: [Option<i32>; 3] = [Some(1), None, Some(3)];
const TEXTS: [Option<&str>; 6] = [Some("a"), Some("b,c"), Some("\"q\\"), Some(""), None, Some("ü")];
const RAW: [u8; 5] = [0, 255, 39, 92, 10];
const AMOUNT: &str = "12345678901.000123400";
const AT: time::OffsetDateTime = time::macros::datetime!(2026-02-03 04:05:06.789 UTC);

fn doc() -> Value {
    json!({"a": [1, 2, {"b": null}], "s": "ü\"\\"})
}

fn at_in_milliseconds(at: time::OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos() / 1_000_000
}

/// What is to be copied in, in COPY's text format.
fn copied() -> String {
    (1..=1000).map(|n| format!("{n}\trow {n}\n")).collect()
}

fn lock_timeout(number: i32) -> String {
    format!("{}ms", 60_000 + number)
}

fn introduce(driver: &str) {
    // What is built is what is locked.
    let lock = include_str!("../../../Cargo.lock");
    let named = format!("name = \"{driver}\"\nversion = \"");
    let version = lock.split_once(&named).and_then(|(_, rest)| rest.split('"').next());
    println!("{}", json!({"driver": driver, "version": version}));
}

fn tell(operation: &str, got: Result<Value>) {
    let line = match got {
        Ok(got) => json!({"op": operation, "got": got}),
        Err(error) => json!({"op": operation, "failed": format!("{error:#}")}),
    };
    println!("{line}");
}

fn has_none(operation: &str, why: &str) {
    println!("{}", json!({"op": operation, "none": why}));
}
