use super::*;

fn users() -> Users {
    let secret = Secret::from_password("pw", b"salt of the node", 4096);
    let known = [
        ("plain", Known::Password("pw".to_owned())),
        ("md5", Known::Md5(md5::stored("md5", "pw"))),
        ("scram", Known::Scram(secret)),
        ("none", Known::Nothing),
        ("node", Known::Password("pw".to_owned())),
    ];
    let credentials = known.map(|(name, known)| Credentials {
        name: name.to_owned(),
        known,
        nodes_only: name == "node",
        is_gone: false,
    });
    Users::new(credentials, |bytes| bytes.fill(7))
}

#[test]
fn a_password_fits_whatever_is_known_of_it() {
    let users = users();
    let salt = [1, 2, 3, 4];
    // Name; whether the right password is let in by plain, md5 and SCRAM.
    for (name, plain, md5, scram) in [
        ("plain", true, true, true),
        ("md5", true, true, false),
        ("scram", true, false, true),
        ("none", false, false, false),
        ("node", false, false, false),
        ("nobody", false, false, false),
    ] {
        let of = users.of_client(name);
        let of = of.as_deref();
        assert_eq!(is_password(&users, name, "pw"), plain, "{name}");
        let answer = md5::response(name, "pw", salt);
        assert_eq!(users.is_md5(name, of, salt, answer.as_bytes()), md5, "{name}");
        assert_eq!(users.secret(name, of).keys("pw").is_some(), scram, "{name}");
        for wrong in ["", "PW", "pw "] {
            assert!(!is_password(&users, name, wrong), "{name}");
            let answer = md5::response(name, wrong, salt);
            assert!(!users.is_md5(name, of, salt, answer.as_bytes()), "{name}");
            assert!(users.secret(name, of).keys(wrong).is_none(), "{name}");
        }
    }
}

/// As a login finds it out.
fn is_password(users: &Users, name: &str, password: &str) -> bool {
    let of = users.of_client(name);
    let of = of.as_deref();
    if users.recognises(name, of, password) {
        return true;
    }
    let Some(keys) = users.secret(name, of).keys(password) else { return false };
    users.remember_password(of.unwrap(), password, keys);
    true
}

#[test]
fn where_md5_is_the_rule_unknown_names_are_asked_as_known_ones_are() {
    let users = users();
    let is_asked = |name: &str| users.is_asked_for_scram(name, users.of_client(name).as_deref());
    assert!(is_asked("scram"));
    assert!(!is_asked("plain") && !is_asked("md5"));
    let strangers = (0..300).map(|number| format!("stranger-{number}"));
    let asked = strangers.filter(|name| is_asked(name)).count();
    // One of three users has a SCRAM secret.
    assert!((60..140).contains(&asked), "{asked}");
    let without = Users::new([], |bytes| bytes.fill(7));
    assert!(!without.is_asked_for_scram("nobody", None));
}

#[test]
fn unknown_names_are_challenged_as_known_ones_are_and_after_a_restart_too() {
    let (users, again) = (users(), users());
    let challenge = |users: &Users, name: &str| {
        let secret = users.secret(name, users.of_client(name).as_deref());
        (secret.salt, secret.iterations)
    };
    for name in ["plain", "md5", "scram", "none", "node", "nobody"] {
        assert_eq!(challenge(&users, name), challenge(&again, name), "{name}");
        assert_eq!(challenge(&users, name).0.len(), 16, "{name}");
    }
    assert_ne!(challenge(&users, "nobody"), challenge(&users, "somebody"));
    let other = Credentials {
        name: "plain".to_owned(),
        known: Known::Password("other".to_owned()),
        ..Credentials::default()
    };
    let other = Users::new([other], |bytes| bytes.fill(7));
    assert_ne!(challenge(&users, "nobody"), challenge(&other, "nobody"));
}

#[test]
fn a_password_that_has_fitted_once_is_known_again() {
    let users = users();
    let recognises =
        |password: &str| users.recognises("scram", users.of_client("scram").as_deref(), password);
    assert!(!recognises("pw"));
    assert!(is_password(&users, "scram", "pw"));
    assert!(recognises("pw") && !recognises("PW"));
}

#[test]
fn the_key_that_a_client_has_shown_is_kept_if_it_fits() {
    let users = users();
    let credential = users.of_client("scram").unwrap();
    let Proof::Scram(secret, None) = credential.proof() else { panic!("not a secret alone") };
    credential.remember([0; 32]);
    assert!(matches!(credential.proof(), Proof::Scram(_, None)));
    assert!(is_password(&users, "scram", "pw"));
    let Proof::Scram(_, Some(keys)) = credential.proof() else { panic!("no keys") };
    assert!(Some(keys) == secret.keys("pw").as_ref());
}

#[test]
fn who_is_not_known_has_as_many_iterations_as_who_is() {
    let known = Known::Password("pw".to_owned());
    let one = Credentials { name: "one".to_owned(), known, ..Credentials::default() };
    let with = |logins: Vec<Credentials>| Users::with_iterations(logins, 1234, |key| key.fill(7));
    for users in [with(vec![one]), with(Vec::new()), with(Vec::new()).with_room()] {
        assert_eq!(users.secret("nobody", None).iterations, 1234);
    }
    let users = with(Vec::new()).with_room();
    let secret = Secret::from_password("pw", b"salt of the node", 4096);
    users.looked_up(&Credential::new("found", Known::Scram(secret), &users.recipe));
    assert_eq!(users.secret("nobody", None).iterations, 4096);
}
