//! Who is somebody to the system, over the Unix socket.

use pgherd_core::settings::{AuthMethod, Secret, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, cluster};

use super::people::system_user;
use super::world::login::{At, Outcome, log_in};
use super::world::{TWO_CORES, World};
use super::{RIGHT, asks};

#[test]
fn the_systems_user_is_the_role_of_the_same_name_and_comes_over_the_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let name = system_user();
    let role = format!("create role \"{name}\"");
    // If it is there already, the test runs as it.
    let _ = cluster.coordinator().psql(&role);
    cluster.coordinator().psql(&format!("alter role \"{name}\" login password '{RIGHT}'")).unwrap();
    let user = UserSettings {
        name: name.clone(),
        password: Secret::new(RIGHT),
        ..UserSettings::default()
    };
    let world = World::before(
        cluster,
        |settings| {
            settings.listen.auth = AuthMethod::Peer;
            settings.listen.unix_socket_dir = folder.path().display().to_string();
            settings.users.push(user);
            settings.check().unwrap();
        },
        TWO_CORES,
    );
    let socket = folder.path().join(format!(".s.PGSQL.{}", world.address().port()));
    let told = log_in(At::Unix(&socket), None, asks(&name, None));
    assert_eq!((told.outcome, told.role), (Outcome::In, name.clone()));
    for user in [cluster::USER, "nobody"] {
        let told = log_in(At::Unix(&socket), None, asks(user, Some(RIGHT)));
        assert_eq!(told.outcome, Outcome::refused("28000"));
        assert_eq!(told.words, "peer authentication failed for user \"NAME\"");
    }
    let told = log_in(world.address(), None, asks(&name, Some(RIGHT)));
    assert_eq!(told.outcome, Outcome::refused("28000"));
}
