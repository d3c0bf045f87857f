//! Settings that are read again while something is under way: logins at the nodes, what consoles have
//! ordered, users that come from elsewhere.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::{Arc, Mutex};

use pgherd_core::Settings;
use pgherd_core::settings::{DatabaseSettings, Secret, TlsMode, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, Link, cluster, link::Mode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};
use world::World;
use world::console::{ADMIN, console, show, until, with_consoles};

/// Nothing but a test's own doing ends a wait, and one core has all backends.
const PATIENT: &str = "[listen]\nport = 0\nworkers = 1\n[health]\ninterval = \"1m\"\n\
                       [pool]\nacquire_timeout = \"1m\"\nconnect_timeout = \"1m\"\n";

/// A world whose settings are read again with a change.
struct Changing {
    world: World,
    file: Arc<Mutex<Settings>>,
}

impl Changing {
    fn start(cluster: Cluster, change: impl Fn(&mut Settings)) -> Self {
        let change = |settings: &mut Settings| {
            with_consoles(settings);
            change(settings);
            settings.check().unwrap();
        };
        let mut settings = Settings::from_toml(&cluster.settings_toml(PATIENT), "test").unwrap();
        change(&mut settings);
        let file = Arc::new(Mutex::new(settings));
        let world = World::before(cluster, change, PATIENT);
        let source = Arc::clone(&file);
        world.server().reload_from(move || Ok(source.lock().unwrap().clone()));
        Self { world, file }
    }

    /// The console has them read again.
    async fn reload(&self, console: &Client, change: impl FnOnce(&mut Settings)) {
        {
            let mut settings = self.file.lock().unwrap();
            change(&mut settings);
            settings.check().unwrap();
        }
        console.batch_execute("RELOAD").await.unwrap();
    }
}

/// The `[[database]]` of these lines.
fn databases(lines: &str) -> Vec<DatabaseSettings> {
    let text = format!(
        "node = [{{ host = \"h\", role = \"coordinator\" }}]\nuser = [{{ name = \"app\" }}]\n\
         database = [{lines}]\n"
    );
    Settings::from_toml(&text, "databases").unwrap().databases
}

/// Asks in one batch, which takes one backend.
async fn ask_at_once(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    rows.collect()
}

async fn ask(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_backend_whose_login_began_before_a_reload_serves_nobody() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    cluster.coordinator().psql("create database other").unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let at = link.address();
    let changing = Changing::start(cluster, |settings| {
        (settings.nodes[0].host, settings.nodes[0].port) = (at.ip().to_string(), at.port());
        settings.tls.mode = TlsMode::Disable;
        settings.databases = databases("{ name = \"app\" }");
    });
    let world = &changing.world;
    let dba = console(world, ADMIN).await;
    let name = "select current_database()::text";
    let client = world.connect().await;
    assert_eq!(ask_at_once(&client, name).await, "app");
    dba.batch_execute("RECONNECT app").await.unwrap();
    dba.batch_execute("WAIT_CLOSE app").await.unwrap();

    link.set(Mode::Stalled);
    let answered = ask_at_once(&client, name);
    let reloaded = async {
        // Its login is under way, and the node does not hear of it yet.
        until(&dba, "servers", ["database", "app"], ["state", "new"]).await;
        changing
            .reload(&dba, |settings| {
                settings.databases = databases("{ name = \"app\", database = \"other\" }");
            })
            .await;
        link.set(Mode::Healthy);
    };
    let (database, ()) = tokio::join!(answered, reloaded);
    assert_eq!(database, "other");
}

#[tokio::test]
async fn what_is_ordered_of_a_name_holds_whatever_a_reload_makes_of_it() {
    let any = "{ name = \"*\", database = \"app\" }";
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let changing = Changing::start(cluster, |settings| settings.databases = databases(any));
    let world = &changing.world;
    let dba = console(world, ADMIN).await;
    let early = world.try_connect("dbname=shop").await.unwrap();
    dba.batch_execute("PAUSE shop").await.unwrap();

    // It is listed now, and paused still: for who was there, and for who comes.
    let listed = format!("{any}, {{ name = \"shop\", database = \"app\" }}");
    changing.reload(&dba, |settings| settings.databases = databases(&listed)).await;
    until(&dba, "databases", ["name", "shop"], ["paused", "1"]).await;
    let both = async {
        let late = async {
            let late = world.try_connect("dbname=shop").await.unwrap();
            late.batch_execute("select 1").await.unwrap();
            late
        };
        let (early_done, late) = tokio::join!(early.batch_execute("select 1"), late);
        early_done.unwrap();
        late
    };
    let resumed = async {
        until(&dba, "pools", ["database", "shop"], ["cl_waiting", "2"]).await;
        assert_eq!(world.backends_at("coordinator"), 0);
        dba.batch_execute("RESUME shop").await.unwrap();
    };
    let (late, ()) = tokio::join!(both, resumed);

    // It is no more, and those who have it still can be held up, and let go on, and ended.
    let others = "{ name = \"app\" }";
    changing.reload(&dba, |settings| settings.databases = databases(others)).await;
    world.try_connect("dbname=shop").await.err().unwrap();
    dba.batch_execute("PAUSE shop").await.unwrap();
    dba.batch_execute("RESUME shop").await.unwrap();
    for client in [&early, &late] {
        client.batch_execute("select 1").await.unwrap();
    }
    dba.batch_execute("KILL shop").await.unwrap();
    for client in [&early, &late] {
        client.batch_execute("select 1").await.unwrap_err();
    }
    let refused = dba.batch_execute("KILL nothing").await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "no such database: nothing");
}

#[tokio::test]
async fn a_user_who_is_listed_no_more_is_looked_up() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let node = cluster.coordinator();
    node.psql("create role moves login password 'right'").unwrap();
    node.psql("create role nodes_only login password 'right'").unwrap();
    let user = |name: &str, password: &str| UserSettings {
        name: name.to_owned(),
        password: Secret::new(password),
        ..UserSettings::default()
    };
    let changing = Changing::start(cluster, |settings| {
        settings.listen.auth_user = "postgres".to_owned();
        settings.listen.auth_query =
            "select rolname::text, rolpassword from pg_authid where rolname = $1".to_owned();
        let nodes_only = UserSettings { nodes_only: true, ..user("nodes_only", "right") };
        let looks = user("postgres", cluster::PASSWORD);
        settings.users.extend([looks, nodes_only, user("moves", "wrong")]);
    });
    let world = &changing.world;
    let dba = console(world, ADMIN).await;
    let refused = async |options: &str| {
        let error = world.try_connect(options).await.expect_err(options);
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{options}");
    };
    // What is listed counts, right or wrong.
    refused("user=moves password=right").await;

    let leaves = |settings: &mut Settings| settings.users.retain(|user| user.name != "moves");
    changing.reload(&dba, leaves).await;
    let found = world.try_connect("user=moves password=right").await.unwrap();
    assert_eq!(ask(&found, "select session_user::text").await, "moves");
    refused("user=moves password=wrong").await;
    let counted = async || {
        let users = show(&dba, "users").await;
        let rows: Vec<_> = users.iter().filter(|row| row["name"] == "moves").collect();
        let [row] = rows[..] else { panic!("{rows:?}") };
        let count = |column: &str| row[column].parse::<u32>().unwrap();
        (count("current_connections"), count("current_client_connections"))
    };
    assert_eq!(counted().await, (1, 1), "under the one name");
    // Who may not come is not looked up.
    refused("user=nodes_only password=right").await;

    // And back: who was found goes on.
    changing.reload(&dba, |settings| settings.users.push(user("moves", "other"))).await;
    refused("user=moves password=right").await;
    assert_eq!(ask(&found, "select session_user::text").await, "moves");
    assert_eq!(counted().await, (1, 1));
}
