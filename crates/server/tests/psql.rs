//! psql through the proxy.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::fmt::Write;
use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use world::{TWO_CORES, World, text, until};

#[test]
fn a_description_of_a_table_reads_as_without_the_proxy() {
    let world = World::start(1, TWO_CORES);
    let create = "create table herd (id int primary key, name text not null default 'x'); \
                  create index on herd (name); \
                  create view tall as select * from herd where id > 10";
    world.psql(create);
    world.cluster.wait_caught_up().unwrap();
    for command in ["\\d", "\\d herd", "\\d+ tall", "\\l", "\\du", "\\df pg_catalog.abs"] {
        let (through, errors) = world.psql(command);
        assert_eq!(errors, "", "{command}");
        let mut direct = world.node("coordinator").psql_command();
        let direct = world::feed(direct.args(["-X", "-A", "-t", "-q"]), command);
        assert_eq!(through, text(&direct.stdout), "{command}");
        assert!(!through.is_empty(), "{command}");
    }
}

#[test]
fn errors_in_and_out_of_transactions_come_whole_and_the_session_goes_on() {
    let world = World::start(1, TWO_CORES);
    let script = r#"
\set VERBOSITY verbose
create table t (id int primary key, check (id < 100));
insert into t values (1);
insert into t values (1);
select 1/0;
selec 1;
begin;
insert into t values (2);
insert into t values (500);
select 'not reached';
rollback;
begin;
insert into t values (3);
savepoint s;
insert into t values (3);
rollback to s;
insert into t values (4);
commit;
do $$ begin raise notice 'a notice' using hint = 'a hint'; end $$;
begin; select 1; select 1/0; select 2; commit;
begin; select count(*) from t; commit;
select current_setting('server_version_num')::int > 0; select 'two in one', 2;
select string_agg(id::text, ',' order by id) from t for update;
\echo the end
"#;
    // What reads the session's own writes does so in a transaction: the replica may lag.
    let (through, errors) = world.psql(script);
    // On a node of its own, by the same role: nothing of what came before is there.
    let alone = World::start(0, TWO_CORES);
    let mut direct = alone.node("coordinator").psql_command();
    let script = format!("set role app;\n{script}");
    let direct = world::feed(direct.args(["-X", "-A", "-t", "-q"]), &script);
    assert_eq!(through, text(&direct.stdout));
    // psql numbers lines from the beginning of its script, and the second one is longer by one.
    let shifted = |errors: &str, by: usize| {
        let mut lines = String::new();
        for line in errors.lines() {
            let line = line.replace("<stdin>", "");
            match line.strip_prefix("psql::").and_then(|rest| rest.split_once(':')) {
                Some((number, rest)) => {
                    let number: usize = number.parse().unwrap();
                    writeln!(lines, "{}:{rest}", number + by).unwrap();
                }
                None => writeln!(lines, "{line}").unwrap(),
            }
        }
        lines
    };
    assert_eq!(shifted(&errors, 1), shifted(&text(&direct.stderr), 0));
    assert!(errors.contains("division by zero") && errors.contains("a hint"), "{errors}");
}

#[test]
fn a_hundred_thousand_rows_go_in_and_come_out_byte_for_byte() {
    let world = World::start(0, TWO_CORES);
    let folder = tempfile::tempdir().unwrap();
    let (rows, back) = (folder.path().join("rows"), folder.path().join("back"));
    let mut lines = String::new();
    for id in 0..100_000u32 {
        // Longer ones now and then, and escapes.
        let note = "zażółć\\tgęślą\\n".repeat(usize::try_from(id % 17).unwrap());
        let odd = if id % 5 == 0 { "\\N" } else { "x" };
        writeln!(lines, "{id}\t{note}\t{odd}").unwrap();
    }
    fs::write(&rows, &lines).unwrap();
    let script = format!(
        "create table t (id int, note text, odd text);\n\\copy t from '{}'\n\
         select count(*) from t;\n\\copy (select * from t order by id) to '{}'\n",
        rows.display(),
        back.display()
    );
    let (printed, errors) = world.psql(&script);
    assert_eq!((printed.trim(), errors.as_str()), ("100000", ""));
    assert!(fs::read_to_string(&back).unwrap() == lines, "other bytes came out than went in");

    // What fails half-way fails, and the session goes on.
    fs::write(&rows, format!("{lines}no number\tx\tx\n{lines}")).unwrap();
    let script = format!("\\copy t from '{}'\nselect count(*) from t;\n", rows.display());
    let (printed, errors) = world.psql(&script);
    assert_eq!(printed.trim(), "100000");
    assert!(errors.contains("invalid input syntax for type integer"), "{errors}");
}

#[test]
fn ctrl_c_cancels_the_query_and_no_other() {
    let world = World::start(0, TWO_CORES);
    let coordinator = world.node("coordinator");
    let sleepers = |seconds: u32| {
        let count = format!(
            "select count(*) from pg_stat_activity where state = 'active' \
             and query like 'select pg_sleep({seconds})%'"
        );
        coordinator.psql(&count).unwrap()
    };
    let spawn = |seconds: u32| {
        let mut psql = world.psql_command();
        let query = format!("select pg_sleep({seconds})");
        psql.args(["-A", "-t", "-c", &query]).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql.spawn().unwrap()
    };
    let mut other = spawn(61);
    let interrupted = spawn(60);
    until("both sleep", || sleepers(60) == "1" && sleepers(61) == "1");
    let pid = Pid::from_raw(i32::try_from(interrupted.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = interrupted.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("canceling statement due to user request"), "{said}");
    until("the query is gone", || sleepers(60) == "0");
    assert_eq!(sleepers(61), "1");
    other.kill().unwrap();
    other.wait().unwrap();
    until("nothing is left of a client that was killed", || sleepers(61) == "0");
}
