//! Passwords from files and commands, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod authority;
mod world;

use std::path::{Path, PathBuf};

use authority::{file, let_others_read};
use pgherd::{Builder, RetryConfig};
use world::{PASSWORD, Shape, World, chain, until};

/// A builder without a password, and a folder for files.
fn world() -> (World, impl Fn(&World) -> Builder, PathBuf) {
    let world = World::start(Shape::default());
    let builder = |world: &World| {
        let once = RetryConfig { max_retries: 1, ..RetryConfig::default() };
        world.builder().password("").retry(once)
    };
    let folder = world.folder().to_owned();
    (world, builder, folder)
}

/// Logs in once.
async fn log_in(builder: Builder) -> Result<(), String> {
    let pool = builder.build().map_err(|error| error.to_string())?;
    let ran = pool.write().execute("SELECT 1", &[]).await;
    pool.close().await;
    ran.map(|_| ()).map_err(|error| chain(&error))
}

#[track_caller]
fn assert_refused(result: Result<(), String>, with: &str) {
    let error = result.expect_err("there is no password");
    assert!(error.contains(with), "`{error}` does not say `{with}`");
    assert!(!error.contains("s3cret") && !error.contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn a_password_in_a_file_is_read_for_each_connection() {
    let (world, builder, folder) = world();
    let path = file(&folder, "password", &format!("{PASSWORD}\n"));
    let pool = builder(&world).password_file(&path).pool_size(1).build().unwrap();
    pool.write().execute("SELECT 1", &[]).await.unwrap();

    world.sql("coordinator", "ALTER ROLE app PASSWORD 'new'");
    file(&folder, "password", "new");
    world.terminate_pooled("coordinator");
    until("the new password is used", async || pool.write().execute("SELECT 1", &[]).await.is_ok())
        .await;
    assert!(!format!("{pool:?} {:?}", pool.settings()).contains("new\""));
    pool.close().await;

    // Docker's secrets are readable by all, and taken; one that others may change is not.
    let_others_read(Path::new(&path));
    log_in(builder(&world).password_file(&path)).await.unwrap();
    authority::let_others_write(Path::new(&path));
    assert_refused(log_in(builder(&world).password_file(&path)).await, "others may change it");
    let two = file(&folder, "two", "s3cret\ns3cret\n");
    let refused = log_in(builder(&world).password_file(&two)).await;
    assert_refused(refused, &format!("password_file {two}: holds more than one line"));
    assert_refused(log_in(builder(&world).password_file("/nowhere")).await, "/nowhere");
    let none = builder(&world).retry(RetryConfig::default()).build().unwrap();
    let error = none.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.tries(), 1, "{error:#}");
    assert!(format!("{error:#}").contains("set `password`"), "{error:#}");
    assert_refused(log_in(builder(&world).password("s3cret").password_file(&path)).await, "enough");
}

#[tokio::test]
async fn a_password_is_what_a_command_prints() {
    let (world, builder, folder) = world();
    let path = file(&folder, "vault", PASSWORD);
    let pool = builder(&world).password_command(["cat", &path]).pool_size(1).build().unwrap();
    pool.write().execute("SELECT 1", &[]).await.unwrap();
    // Refused with the old one, it asks again before the next try.
    world.sql("coordinator", "ALTER ROLE app PASSWORD 'new'");
    file(&folder, "vault", "new");
    world.terminate_pooled("coordinator");
    until("the new password is used", async || pool.write().execute("SELECT 1", &[]).await.is_ok())
        .await;
    pool.close().await;
    let failing = ["sh", "-c", "echo s3cret; echo the vault is sealed >&2; exit 7"];
    let error = log_in(builder(&world).password_command(failing)).await.unwrap_err();
    assert!(error.contains("the vault is sealed") && error.contains("status: 7"), "{error}");
    assert!(!error.replace("echo s3cret", "").contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_password_is_looked_up_in_a_passfile() {
    let (world, builder, folder) = world();
    let port = world.port("coordinator");
    let line = format!("127.0.0.1:{port}:app:app:{PASSWORD}\n*:*:*:*:s3cret\n");
    let path = file(&folder, "passfile", &line);
    log_in(builder(&world).passfile(&path)).await.unwrap();
    let_others_read(Path::new(&path));
    assert_refused(log_in(builder(&world).passfile(&path)).await, "others may read it");
}
