use super::*;
use crate::auth::Credentials;
use crate::hostile::{no_random, rules};
use pgherd_core::Settings;
use pgherd_wire::scram::{ClientExchange, Keys};

/// Alice, and the database "app".
fn served() -> (Users, Databases) {
    let text = "cluster = { database = \"app\" }\nuser = [{ name = \"alice\", password = \"secret\" }, \
                { name = \"node\", password = \"secret\", nodes_only = true }]\n\
                node = [{ host = \"h\", role = \"coordinator\" }]";
    let settings = Settings::from_toml(text, "test").unwrap();
    let users = Users::new(settings.users.iter().map(Credentials::from), no_random);
    let databases = Databases::new(&settings, &users);
    (users, databases)
}

fn startup(protocol: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    startup::put_startup(&mut out, protocol, parameters.iter().copied());
    out
}

/// Runs a login of `user` with `password`, feeding `step` bytes at a time.
fn log_in(user: &str, password: &str, step: usize) -> (LoginStep, Vec<u8>) {
    let (users, databases) = served();
    let rules = rules(Method::Scram, &users, &databases);
    let mut login = Login::default();
    let feed = |login: &mut Login, bytes: &[u8]| {
        let (mut pending, mut out) = (Vec::new(), Vec::new());
        let mut last = LoginStep::NeedMore;
        for chunk in bytes.chunks(step) {
            pending.extend_from_slice(chunk);
            let (used, next) = login.on_bytes(&pending, rules, &mut no_random, &mut out);
            pending.drain(..used);
            last = next;
        }
        (last, out)
    };
    let (_, out) = feed(&mut login, &startup(PROTOCOL_3_0, &[("user", user), ("database", "app")]));
    assert_eq!(
        Authentication::read(&out[HEADER..]).unwrap(),
        Authentication::Sasl { mechanisms: vec!["SCRAM-SHA-256"] }
    );
    let (exchange, first) = ClientExchange::start(b"nonce");
    let mut bytes = Vec::new();
    SaslInitial { mechanism: scram::MECHANISM, data: first.as_bytes() }.put(&mut bytes);
    let (_, out) = feed(&mut login, &bytes);
    let Authentication::SaslContinue(challenge) = Authentication::read(&out[HEADER..]).unwrap()
    else {
        panic!("expected a challenge")
    };
    let derive = |salt: &[u8], iterations| Keys::derive(password, salt, iterations);
    let (_, proof) = exchange.prove(challenge, derive).unwrap();
    bytes.clear();
    frontend::put_sasl_response(&mut bytes, proof.as_bytes());
    feed(&mut login, &bytes)
}

#[test]
fn without_an_hba_file_nobody_logs_in_by_it() {
    let (users, databases) = served();
    let rules = rules(Method::Hba, &users, &databases);
    let mut out = Vec::new();
    let startup = startup(PROTOCOL_3_0, &[("user", "alice")]);
    let (_, step) = Login::default().on_bytes(&startup, rules, &mut no_random, &mut out);
    assert!(matches!(step, LoginStep::Refused { .. }), "{step:?}");
}

#[test]
fn who_comes_over_a_unix_socket_is_who_the_system_says() {
    let (users, databases) = served();
    let over_tcp = rules(Method::Peer, &users, &databases);
    let rules = Rules { is_local: true, system_user: Some(7), ..over_tcp };
    let startup = startup(PROTOCOL_3_0, &[("user", "alice"), ("database", "app")]);
    let told = |answer: Answer| {
        let (mut login, mut out) = (Login::default(), Vec::new());
        let (_, step) = login.on_bytes(&startup, rules, &mut no_random, &mut out);
        assert_eq!(step, LoginStep::Ask(Question::SystemUser(7)));
        assert!(login.is_asking());
        let step = login.on_answer(answer, rules, &mut no_random, &mut out);
        (step, String::from_utf8_lossy(&out).into_owned())
    };
    let (step, _) = told(Answer::SystemUser(Some("alice".to_owned())));
    assert!(matches!(step, LoginStep::Authenticated(_)), "{step:?}");
    for other in [None, Some("mallory".to_owned())] {
        let (step, said) = told(Answer::SystemUser(other));
        let failed = matches!(step, LoginStep::Refused { failed_as: Some(_), .. });
        assert!(failed && said.contains("28000"), "{step:?}: {said}");
    }
    let (_, said) = told(Answer::Failed);
    assert!(said.contains("57P03"), "{said}");
    let mut out = Vec::new();
    let (_, step) = Login::default().on_bytes(&startup, over_tcp, &mut no_random, &mut out);
    assert!(matches!(step, LoginStep::Refused { .. }), "{step:?}");
}

#[test]
fn the_right_password_logs_in_however_the_bytes_are_cut() {
    for step in [1, 2, 3, 1000] {
        let (last, _) = log_in("alice", "secret", step);
        assert!(matches!(last, LoginStep::Authenticated(_)), "{step}: {last:?}");
    }
}

#[test]
fn unknown_user_and_wrong_password_read_the_same() {
    let (_, wrong) = log_in("alice", "wrong", 1000);
    let (_, unknown) = log_in("mallory", "wrong", 1000);
    let (_, of_nodes) = log_in("node", "secret", 1000);
    let wrong = String::from_utf8_lossy(&wrong).replace("alice", "X").split_off(5);
    let unknown = String::from_utf8_lossy(&unknown).replace("mallory", "X").split_off(5);
    let of_nodes = String::from_utf8_lossy(&of_nodes).replace("node", "X").split_off(5);
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, of_nodes);
    assert!(wrong.contains("28P01"));
}

#[test]
fn encryption_is_declined_and_the_login_goes_on() {
    let (users, databases) = served();
    let rules = rules(Method::Trust, &users, &databases);
    let mut bytes = vec![0, 0, 0, 8, 4, 210, 22, 47, 0, 0, 0, 8, 4, 210, 22, 48];
    bytes.extend(startup(PROTOCOL_3_0, &[("user", "alice"), ("database", "app")]));
    let mut out = Vec::new();
    let (used, step) = Login::default().on_bytes(&bytes, rules, &mut no_random, &mut out);
    assert_eq!((used, &out[..]), (bytes.len(), &b"NN"[..]));
    assert!(matches!(step, LoginStep::Authenticated(_)));
}

fn trusted(protocol: u32, parameters: &[(&str, &str)]) -> (LoginStep, Vec<u8>) {
    let (users, databases) = served();
    let rules = rules(Method::Trust, &users, &databases);
    let mut out = Vec::new();
    let bytes = startup(protocol, parameters);
    (Login::default().on_bytes(&bytes, rules, &mut no_random, &mut out).1, out)
}

#[test]
fn parameters_and_options_are_kept() {
    let options = r"-c search_path=a\ b -cstatement_timeout=5s --idle-session-timeout=0";
    let (step, _) = trusted(
        PROTOCOL_3_0,
        &[
            ("user", "alice"),
            ("database", "app"),
            ("application_name", "psql"),
            ("options", options),
        ],
    );
    let LoginStep::Authenticated(request) = step else { panic!("{step:?}") };
    let pairs: Vec<_> = request.parameters.iter().collect();
    assert_eq!(
        pairs,
        [
            ("application_name", "psql"),
            ("idle_session_timeout", "0"),
            ("search_path", "a b"),
            ("statement_timeout", "5s"),
        ]
    );
}

#[test]
fn what_cannot_be_given_is_refused_with_its_sqlstate() {
    let refused = |pairs: &[(&str, &str)], code: &str| {
        let (step, out) = trusted(PROTOCOL_3_0, pairs);
        assert!(matches!(step, LoginStep::Refused { .. }), "{pairs:?}: {step:?}");
        assert!(String::from_utf8_lossy(&out).contains(code), "{pairs:?}");
    };
    refused(&[("user", "alice"), ("database", "other")], "3D000");
    refused(&[("user", "bob"), ("database", "app")], "28000");
    refused(&[("user", "node"), ("database", "app")], "28000");
    refused(&[("database", "app")], "28000");
    refused(&[("user", "alice"), ("database", "app"), ("replication", "some")], "22023");
    refused(&[("user", "alice"), ("database", "other"), ("replication", "database")], "3D000");
    refused(&[("user", "bob"), ("database", "app"), ("replication", "on")], "28000");
    refused(&[("user", "alice"), ("database", "app"), ("options", "-x")], "0A000");
}

#[test]
fn replication_is_asked_for_and_the_physical_one_needs_no_database() {
    let asks = |database: &str, replication: &str| {
        let pairs = [("user", "alice"), ("database", database), ("replication", replication)];
        let (step, _) = trusted(PROTOCOL_3_0, &pairs);
        let LoginStep::Authenticated(request) = step else { panic!("{step:?}") };
        assert!(request.parameters.is_empty());
        (request.database, request.replication)
    };
    let (physical, logical) = (Some(Replication::Physical), Some(Replication::Logical));
    for database in ["app", "replication", ""] {
        assert_eq!(asks(database, "true"), ("app".to_owned(), physical));
    }
    assert_eq!(asks("app", "database"), ("app".to_owned(), logical));
    assert_eq!(asks("app", "off"), ("app".to_owned(), None));
}

#[test]
fn newer_protocols_are_negotiated_down_to_what_we_speak() {
    let pairs = [("user", "alice"), ("database", "app")];
    for (asked, told, negotiated) in [
        (PROTOCOL_3_0, PROTOCOL_3_0, false),
        (PROTOCOL_3_0 | 1, PROTOCOL_3_0, true),
        (PROTOCOL_3_2, PROTOCOL_3_2, false),
        (PROTOCOL_3_0 | 9999, PROTOCOL_3_2, true),
    ] {
        let (step, out) = trusted(asked, &pairs);
        let LoginStep::Authenticated(request) = step else { panic!("{step:?}") };
        assert_eq!((request.protocol, out.first() == Some(&b'v')), (told, negotiated));
    }
}
