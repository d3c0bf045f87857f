use pgherd_core::settings::PoolMode;

use super::known::MOST_UNLISTED;
use super::*;
use crate::auth::Credentials;

fn databases(more: &str) -> (Databases, Users) {
    let text = format!(
        "node = [{{ host = \"h\", role = \"coordinator\" }}]\n\
         user = [{{ name = \"one\" }}, {{ name = \"two\", pool_size = 2 }}]\n{more}"
    );
    let settings = Settings::from_toml(&text, "test").unwrap();
    let users = Users::new(settings.users.iter().map(Credentials::from), |bytes| bytes.fill(7));
    (Databases::new(&settings, &users), users)
}

#[test]
fn without_a_list_there_is_the_clusters_database() {
    let (databases, _) = databases("cluster = { database = \"app\" }");
    assert!(databases.serves("app") && !databases.serves("postgres"));
    let unknown = databases.account("postgres", UserId(0)).unwrap_err();
    assert_eq!(unknown.to_string(), "database \"postgres\" does not exist");
    assert_eq!(databases.account("app", UserId(0)).unwrap().database.on_nodes(), "app");
}

#[test]
fn a_database_has_another_name_and_one_login_for_all_at_the_nodes() {
    let (databases, users) = databases(
        "database = [{ name = \"a\", database = \"b\", user = \"two\" }, { name = \"c\" }]",
    );
    let [one, two] = ["one", "two"].map(|name| users.find(name).unwrap());
    let shared = databases.account("a", one).unwrap();
    assert_eq!((&*shared.database.on_nodes(), shared.login), ("b", two));
    assert_eq!(databases.plan(&shared.database, shared.login).size, 2);
    let own = databases.account("c", one).unwrap();
    assert_eq!((&*own.database.on_nodes(), own.login), ("c", one));
    assert_eq!(databases.plan(&own.database, own.login).size, 20);
    assert!(Arc::ptr_eq(&own, &databases.account("c", one).unwrap()));
}

#[test]
fn any_other_name_leads_to_a_database_of_its_own_while_there_is_room() {
    let (databases, _) = databases("database = [{ name = \"*\" }, { name = \"c\" }]");
    let user = UserId(0);
    let account = |name: &str| databases.account(name, user);
    assert!(databases.serves("anything"));
    let (listed, first) = (account("c").unwrap(), account("0").unwrap());
    assert!(listed.database.is_listed() && !first.database.is_listed());
    assert_eq!(databases.get(first.database.id).name, first.database.name);

    let mut held: Vec<_> = (1..MOST_UNLISTED).map(|n| account(&n.to_string()).unwrap()).collect();
    assert_eq!(account("more").unwrap_err(), NoDatabase::TooMany(MOST_UNLISTED));
    let left = held.pop().unwrap();
    let (id, pool) = (left.database.id, Arc::clone(&left.database));
    drop(left);
    assert!(account("more").is_err(), "its pool is still there");
    drop(pool);
    assert_ne!(account("more").unwrap().database.id, id);
    assert_eq!(databases.get(first.database.id).name, first.database.name);
}

#[test]
fn what_is_read_again_holds_for_new_clients_and_who_is_there_keeps_what_it_has() {
    let listed = "database = [{ name = \"stays\" }, { name = \"goes\" }, { name = \"*\" }]";
    let (databases, users) = databases(listed);
    let one = UserId(0);
    let stays = databases.account("stays", one).unwrap();
    let goes = databases.account("goes", one).unwrap().enter("one").unwrap();
    let by_any = databases.account("comes", one).unwrap().enter("one").unwrap();

    let again = |more: &str| {
        let text = format!(
            "node = [{{ host = \"h\", role = \"coordinator\" }}]\n\
             user = [{{ name = \"one\" }}, {{ name = \"two\", pool_size = 2 }}]\n{more}"
        );
        let settings = Settings::from_toml(&text, "test").unwrap();
        databases.follow(Arc::new(settings), &users, &|| 7);
    };
    again(
        "database = [{ name = \"stays\", database = \"other\", pool_mode = \"session\" }, \
         { name = \"comes\" }]",
    );
    // The same database, which is another one on the nodes; other terms for who comes now.
    let now = databases.account("stays", one).unwrap();
    assert!(Arc::ptr_eq(&now.database, &stays.database) && !Arc::ptr_eq(&now, &stays));
    assert_eq!((&*now.database.on_nodes(), now.mode), ("other", PoolMode::Session));
    assert_eq!(stays.mode, PoolMode::Transaction);
    assert_eq!(now.database.reconnect_before(), 7);
    // Who came to it by "*" is still there.
    let comes = databases.account("comes", one).unwrap();
    assert!(comes.database.is_listed() && comes.id != by_any.id);
    assert_eq!(comes.database.reconnect_before(), 0);
    databases.account("goes", one).unwrap_err();
    assert!(!goes.database.is_listed());
    for held in [goes.id, by_any.id, comes.id] {
        assert_eq!(databases.get(held).id, held);
    }
    // Once its last client has left, nothing is kept of it.
    drop((goes, by_any));
    again("");
    again("");
    assert_eq!(
        databases.known.lock().unwrap().former.len(),
        2,
        "`stays` and `comes`, which are held here"
    );
}
