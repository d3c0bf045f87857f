//! What clients begin with: parameters of their database, their address in their name, a notice.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::io::{Read, Write};
use std::net::SocketAddr;

use pgherd_core::Settings;
use pgherd_lab::{Cluster, ClusterSpec, PgBouncer};
use pgherd_wire::frontend;
use world::beside::{Beside, log_in, parameter_of};
use world::raw::Raw;
use world::{World, until};

const ALL: &str = "select concat_ws(' | ', current_setting('application_name'), \
                   current_setting('client_encoding'), current_setting('datestyle'), \
                   current_setting('timezone'))";

/// As far as they are among the four, in order of name.
fn of_four(mut told: Vec<(String, String)>) -> Vec<(String, String)> {
    let four = ["application_name", "client_encoding", "DateStyle", "TimeZone"];
    told.retain(|(name, _)| four.contains(&name.as_str()));
    told.sort();
    told
}

#[test]
fn clients_begin_with_the_parameters_of_their_database() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let of_database = "application_name=shop client_encoding=LATIN1 datestyle='SQL, DMY' \
                       timezone=Europe/Paris";
    let begins = "shop | LATIN1 | SQL, DMY | Europe/Paris";
    for mode in ["transaction", "session"] {
        let beside = Beside::start(&cluster, of_database, &format!("pool_mode = {mode}\n"));
        let own =
            [("client_encoding", "UTF8"), ("datestyle", "German, DMY"), ("TimeZone", "Asia/Tokyo")];
        let named = [("application_name", "own")];
        for (asked, has) in [
            (&[][..], begins),
            (&named[..], "own | LATIN1 | SQL, DMY | Europe/Paris"),
            (&own[..], "shop | UTF8 | German, DMY | Asia/Tokyo"),
            (&[], begins),
        ] {
            let say = |at: SocketAddr| {
                let (mut client, told) = log_in(at, asked);
                (of_four(told), client.query(ALL))
            };
            let (told, found) = beside.same(say);
            assert_eq!(found, [has], "{asked:?}");
            assert_eq!(told.len(), 4, "{told:?}");
        }
        // What a client sets and resets, and leaves for the next one.
        let say = |at: SocketAddr| {
            let (mut client, _) = log_in(at, &[]);
            let mut found = Vec::new();
            for sql in [
                "set timezone to 'UTC'; set application_name to 'x'",
                "reset timezone",
                "reset all",
                "set datestyle to 'Postgres'",
                "discard all",
                "set client_encoding to 'UTF8'",
            ] {
                let told = run(&mut client, sql);
                found.push((of_four(told), client.query(ALL)));
            }
            drop(client);
            (found, log_in(at, &[]).0.query(ALL))
        };
        let (found, next) = beside.same(say);
        assert_eq!(found[2].1, [begins]);
        assert_eq!(next, [begins]);
    }
}

/// Runs a simple query; what the client is told of its parameters.
fn run<S: Read + Write>(client: &mut Raw<S>, sql: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    frontend::put_query(&mut out, sql);
    client.send(&out);
    client.until('Z').into_iter().filter_map(parameter_of).collect()
}

#[test]
fn what_a_client_has_asked_for_itself_is_what_reset_goes_back_to() {
    for (mode, size) in [("transaction", 1), ("session", 2)] {
        let more = format!(
            "[listen]\nport = 0\nauth = \"trust\"\n[pool]\nsize = {size}\nmode = \"{mode}\"\n\
             [[database]]\nname = \"app\"\ntimezone = \"Europe/Paris\"\n"
        );
        let world = World::start(0, &more);
        let zone = "show timezone";
        let mut own = Raw::log_in(&world, &[("timezone", "Asia/Tokyo")]);
        let mut other = Raw::log_in(&world, &[]);
        // In a whole session that is what its backend began with, as PgBouncer has it.
        let (own_zone, paris) = ("Asia/Tokyo", "Europe/Paris");
        let reset_zone = if mode == "session" { paris } else { own_zone };
        for (sql, has) in [
            ("select 1", own_zone),
            ("set timezone to 'UTC'", "UTC"),
            ("reset timezone", reset_zone),
            ("set timezone to 'UTC'; reset all", reset_zone),
            ("discard all", reset_zone),
        ] {
            run(&mut own, sql);
            assert_eq!(
                (own.query(zone), other.query(zone)),
                (vec![has.to_owned()], vec![paris.to_owned()])
            );
        }
    }
}

#[test]
fn reload_takes_the_parameters_of_a_database() {
    let more = |zone: &str| {
        format!(
            "[listen]\nport = 0\nauth = \"trust\"\nworkers = 1\n\
             [[database]]\nname = \"app\"\napplication_name = \"shop\"\ntimezone = \"{zone}\"\n"
        )
    };
    let world = World::start(0, &more("Asia/Tokyo"));
    let mut before = Raw::log_in(&world, &[]);
    let both = "select current_setting('timezone') || ' ' || current_setting('application_name')";
    assert_eq!(before.query(both), ["Asia/Tokyo shop"]);
    let text = world.cluster.settings_toml(&more("Europe/Paris"));
    let settings = Settings::from_toml(&text, "test").unwrap();
    let outcome = world.server().reload_from(move || Ok(settings.clone())).reload().unwrap();
    assert_eq!(outcome.applied, ["database app"]);
    let (mut after, told) = log_in(world.address(), &[]);
    assert!(told.contains(&("TimeZone".to_owned(), "Europe/Paris".to_owned())), "{told:?}");
    for _ in 0..3 {
        assert_eq!(after.query(both), ["Europe/Paris shop"]);
        // What it was told at its login goes on.
        assert_eq!(before.query(both), ["Asia/Tokyo shop"]);
    }
    before.query("set timezone to 'UTC'; reset all");
    assert_eq!(before.query(both), ["Asia/Tokyo shop"]);
}

#[test]
fn the_name_of_a_client_has_its_address_behind_it() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let long = "a".repeat(70);
    let accents = "\u{e9}".repeat(21);
    for of_database in ["", "application_name=shop"] {
        let beside = Beside::start(&cluster, of_database, "application_name_add_host = 1\n");
        let name = "show application_name";
        for asked in [None, Some("own"), Some(""), Some(long.as_str()), Some(accents.as_str())] {
            let asked: Vec<_> = asked.map(|name| ("application_name", name)).into_iter().collect();
            // Cut off within the address, it has another part of it each time.
            let is_whole = asked.first().is_none_or(|(_, name)| name.len() < 10);
            let over_tcp = |at: SocketAddr| {
                let (mut client, _) = log_in(at, &asked);
                let port = client.port().to_string();
                let named = client.query(name).pop().unwrap();
                let named =
                    if is_whole { named.replace(&port, "PORT") } else { named[..50].to_owned() };
                run(&mut client, "set application_name to 'x'");
                (named, client.query(name))
            };
            let over_unix = |at: SocketAddr| {
                let named = beside.over_unix(at, &asked).query(name).pop().unwrap();
                if is_whole { named.replace(&at.port().to_string(), "PORT") } else { String::new() }
            };
            let (over_tcp, x) = beside.same(over_tcp);
            let over_unix = beside.same(over_unix);
            assert_eq!(x, ["x"]);
            match asked.first() {
                None => {
                    assert_eq!(over_tcp, "app - 127.0.0.1:PORT");
                    let process = std::process::id();
                    assert!(
                        over_unix.starts_with(&format!("app - unix({process}@")),
                        "{over_unix}"
                    );
                    assert!(over_unix.ends_with("):PORT"), "{over_unix}");
                }
                Some((_, "own")) => assert_eq!(over_tcp, "own - 127.0.0.1:PORT"),
                _ => {}
            }
        }
    }
}

#[test]
fn whoever_has_logged_in_is_told_what_the_settings_say() {
    let with = |notice: &str| {
        format!("[listen]\nport = 0\nauth = \"trust\"\nadmin_users = [\"app\"]\n{notice}")
    };
    let world = World::start(0, &with("login_notice = \"by a \\\"pooler\\\"\""));
    let greeting = |database: &str| -> (String, String) {
        let asked = [("database", database)];
        let told = Raw::start(&world, &asked).until('Z');
        let notices = told.iter().filter(|(tag, _)| *tag == 'N');
        let notices = notices.map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect();
        (told.iter().map(|(tag, _)| *tag).filter(|tag| *tag != 'S').collect(), notices)
    };
    // Whether the welcome is a node's or remembered.
    for _ in 0..2 {
        let (kinds, notice) = greeting("app");
        assert_eq!(kinds, "RKNZ");
        assert!(notice.contains("SNOTICE\0") && notice.contains("C00000\0"), "{notice:?}");
        assert!(notice.contains("Mby a \"pooler\"\0"), "{notice:?}");
    }
    assert_eq!(greeting("pgbouncer").0, "RKZ");

    let text = world.cluster.settings_toml(&with("login_notice = \"another\""));
    let settings = Settings::from_toml(&text, "test").unwrap();
    let reloader = world.server().reload_from(move || Ok(settings.clone()));
    assert_eq!(reloader.reload().unwrap().applied, ["listen.login_notice = \"another\""]);
    until("it is told", || greeting("app").1.contains("Manother\0"));
    let mut console = Raw::log_in(&world, &[("database", "pgbouncer")]);
    assert_eq!(console.query("set login_notify_message = ''"), Vec::<String>::new());
    until("nothing is told", || greeting("app").0 == "RKZ");
}
